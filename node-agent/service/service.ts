/**
 * What the agent needs of the service it looks after, whatever runs it: a process of its own, or an
 * init system. Only the agent starts the service (protocol.md, rule 10), so an adapter never does so
 * by itself: not after a crash of the service, and not after a restart of the agent.
 */
import type { Adoption } from './adopted-process.js';

/** How to run a service: words, never a shell. */
export interface ServiceSpec {
  /** The program and its arguments. */
  readonly argv: readonly string[];
  /** The folder it starts in, absolute. */
  readonly cwd: string;
  /** Its whole environment; nothing is inherited from the agent. */
  readonly env: Readonly<Record<string, string>>;
  /** The signal that asks it to end, such as SIGTERM. */
  readonly stopSignal: string;
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
   * Starts the service, and returns when its process exists (not when it is healthy).
   * Errors: APPLY_FAILED when it runs already, or cannot be started.
   */
  start(spec: ServiceSpec): Promise<void>;
  /**
   * Ends the service and everything it started; SIGKILL after `timeoutMs`. Nothing running is no error.
   * Errors: STOP_FAILED when something is still there after SIGKILL.
   */
  stop(timeoutMs: number): Promise<void>;
  /** Whether the service's process lives. One that is dead and not yet collected does not. */
  isRunning(): Promise<boolean>;
  /** What is known of the service now. */
  describe(): Promise<ServiceDescription>;
  /**
   * Makes a process that somebody started by hand the service's own, without touching it; absent where
   * something else keeps the service. Doing it again changes nothing.
   * Errors: TAKE_OVER_FAILED when it has ended, or when another process of the service runs.
   */
  adopt?(adoption: Adoption): Promise<void>;
  /** Gives up what `adopt` took over for the same `by`, without touching it. */
  disown?(by: string): Promise<void>;
}
