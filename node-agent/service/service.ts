/**
 * What the agent needs of the service it looks after, whatever runs it: a process of its own, an
 * operator's commands, or an init system. Only the agent starts the service (protocol.md, rule 10),
 * so an adapter never does so by itself: not after a crash of the service, and not after a restart
 * of the agent.
 */
import type { Adoption } from './adopted-process.js';

/** How to run a service: words, never a shell. */
export interface ServiceSpec {
  /** The program and its arguments, as the release says; an adapter may have words of its own. */
  readonly argv: readonly string[];
  /** The folder it starts in, absolute. */
  readonly cwd: string;
  /** Its environment, to which an adapter adds its own; nothing is inherited from the agent. */
  readonly env: Readonly<Record<string, string>>;
  /** The signal that asks it to end, such as SIGTERM. */
  readonly stopSignal: string;
}

/** In what a program about the service runs while the agent has not started the service itself. */
export interface ServiceContext {
  /** The folder of the release behind `current`; the node's root when there is none. */
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  /** Whether `current` leads to a complete release. */
  readonly installed: boolean;
}

/** What is known of a service now. */
export interface ServiceDescription {
  readonly running: boolean;
  /** The process id of the running service. */
  readonly pid?: number;
  /** When it was started, in milliseconds since 1970 by the wall clock. For people to read. */
  readonly sinceMs?: number;
  /** How it ended, as a sentence's part ("exit code 1"); known only to the agent that started it. */
  readonly ended?: string;
}

/** Starts, stops and finds the service of one node. One caller at a time. */
export interface ServiceAdapter {
  /**
   * Starts the service, and returns when it exists (not when it is healthy).
   * Errors: APPLY_FAILED when it runs already, or cannot be started.
   */
  start(spec: ServiceSpec): Promise<void>;
  /**
   * Of several services, starts those that do not run, and leaves the others alone; absent where there
   * is only one. For a caller who knows that what runs is of the same release.
   * Errors: APPLY_FAILED when one cannot be started; what this call has started is then stopped again.
   */
  startMissing?(spec: ServiceSpec): Promise<void>;
  /**
   * Ends the service and everything it started; SIGKILL after `timeoutMs`, where the adapter can send
   * one. Nothing running is no error.
   * Errors: STOP_FAILED when something is still there, or when that cannot be told.
   */
  stop(timeoutMs: number): Promise<void>;
  /**
   * Whether the service lives. A process that is dead and not yet collected does not.
   * Errors: STOP_FAILED when it cannot be told.
   */
  isRunning(): Promise<boolean>;
  /** What is known of the service now. Errors: as of `isRunning`. */
  describe(): Promise<ServiceDescription>;
  /** The ids of all its live processes; none when the adapter cannot know them. */
  pids(): Promise<number[]>;
  /**
   * Makes a process that somebody started by hand the service's own, without touching it; absent where
   * something else keeps the service. Doing it again changes nothing.
   * Errors: TAKE_OVER_FAILED when it has ended, or when another process of the service runs.
   */
  adopt?(adoption: Adoption): Promise<void>;
  /** Gives up what `adopt` took over for the same `by`, without touching it. */
  disown?(by: string): Promise<void>;
}
