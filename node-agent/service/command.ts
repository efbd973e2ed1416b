/**
 * The `command` adapter: programs of the operator start and stop the service, and tell whether it runs.
 * Invariant: what the status program could not tell is an error and never "not running", because a
 * second start beside a running service is worse than a failed upgrade. For the same reason a start program
 * that an agent which was killed has left at work is ended before anything is stopped or started.
 */
import { isAbsolute, join } from 'node:path';
import { asPlexiError, type ErrorCode, PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import type { ServiceConfig } from '../../config/schema/service.js';
import { type MonotonicClock, monotonicClock } from './clock.js';
import { type CommandResult, type CommandRun, runCommand } from './command-run.js';
import { lastLineOf } from './last-line.js';
import type { ServiceAdapter, ServiceContext, ServiceDescription, ServiceSpec } from './service.js';
import { endStartProgram, forgetStartProgram, noteStartProgram } from './start-record.js';

/** The settings of a service with this adapter. */
export type CommandServiceConfig = Extract<ServiceConfig, { adapter: 'command' }>;

/** Milliseconds between two looks at a service that shall end: at first, and at the most. */
const pollFirstMs = 10;
const pollMaxMs = 500;

/** Exit codes of a status program that say that it does not know: LSB's 4, and those of a shell. */
const unknownCodes: readonly number[] = [4, 126, 127];

/** A service that programs of the operator look after. */
export class CommandAdapter implements ServiceAdapter {
  /** How this agent started it; undefined after a stop, and in a later agent. */
  private started: ServiceSpec | undefined;
  /** The record of a start program at work. */
  private readonly startFile: string;

  /**
   * @param root the node's root folder
   * @param context in what the programs run while this agent has not started the service
   */
  constructor(
    private readonly config: CommandServiceConfig,
    root: string,
    private readonly context: () => Promise<ServiceContext>,
    private readonly clock: MonotonicClock = monotonicClock,
  ) {
    this.startFile = join(root, 'run', `${config.name}.starting`);
  }

  async start(spec: ServiceSpec): Promise<void> {
    this.started = spec;
    const { name } = this.config;
    await endStartProgram(this.startFile, 'APPLY_FAILED');
    if (await this.asksStatus('APPLY_FAILED', limits.serviceStatusMs)) {
      throw new PlexiError(
        'APPLY_FAILED',
        `the service ${name} runs already; it must be stopped before it can be started`,
      );
    }
    const result = await this.runStart();
    if (result.exitCode === 0) return;
    throw new PlexiError(
      'APPLY_FAILED',
      `the service ${name} could not be started: ${result.sentence}${lastLineOf(result.output)}`,
    );
  }

  async stop(timeoutMs: number): Promise<void> {
    await endStartProgram(this.startFile, 'STOP_FAILED');
    if (await this.isOfMissingRelease(this.config.stop)) return;
    const deadline = this.clock.now() + timeoutMs;
    const result = await this.run(this.config.stop, timeoutMs);
    let pauseMs = pollFirstMs;
    while (await this.asksStatus('STOP_FAILED', limits.serviceStatusMs)) {
      const remainingMs = deadline - this.clock.now();
      if (remainingMs <= 0 || !wasRun(result)) throw this.stopFailure(timeoutMs, result);
      await this.clock.sleep(Math.min(pauseMs, remainingMs));
      pauseMs = Math.min(pauseMs * 1.5, pollMaxMs);
    }
    this.started = undefined;
  }

  isRunning(): Promise<boolean> {
    return this.asksStatus('STOP_FAILED', limits.serviceStatusMs);
  }

  async describe(): Promise<ServiceDescription> {
    return { running: await this.isRunning() };
  }

  /** Nobody says which processes belong to it. */
  async pids(): Promise<number[]> {
    return [];
  }

  private async asksStatus(code: ErrorCode, timeoutMs: number): Promise<boolean> {
    const { name, status } = this.config;
    if (await this.isOfMissingRelease(status)) return false;
    const result = await this.run(status, timeoutMs);
    if (result.exitCode !== null && !unknownCodes.includes(result.exitCode)) return result.exitCode === 0;
    throw new PlexiError(
      code,
      `whether the service ${name} runs is unknown: ${result.sentence}${lastLineOf(result.output)}; look at service.status in the agent's configuration`,
    );
  }

  private stopFailure(timeoutMs: number, result: CommandResult): PlexiError {
    const how = `${result.sentence}${lastLineOf(result.output)}`;
    return new PlexiError(
      'STOP_FAILED',
      `the service ${this.config.name} still runs after ${timeoutMs} ms: ${how}; stop it by hand, and try again`,
    );
  }

  /** A program that comes with the release cannot be there, nor have started anything, before one is installed. */
  private async isOfMissingRelease(argv: readonly string[]): Promise<boolean> {
    const [program = ''] = argv;
    if (this.started !== undefined || isAbsolute(program) || !program.includes('/')) return false;
    return !(await this.context()).installed;
  }

  /** The start program, noted for a later agent as long as it is at work. One that cannot be noted is ended. */
  private async runStart(): Promise<CommandResult> {
    const unnoted = new AbortController();
    const onStart = (pid: number): void => {
      try {
        noteStartProgram(this.startFile, pid);
      } catch (thrown) {
        unnoted.abort(thrown);
      }
    };
    const { signal } = unnoted;
    const result = await this.run(this.config.start, limits.serviceStartMs, { onStart, signal });
    if (!result.leftRunning) forgetStartProgram(this.startFile);
    if (!signal.aborted) return result;
    throw asPlexiError(
      signal.reason,
      'APPLY_FAILED',
      `the start program of ${this.config.name} could not be noted`,
    );
  }

  private async run(
    argv: readonly string[],
    timeoutMs: number,
    more: Pick<CommandRun, 'onStart' | 'signal'> = {},
  ): Promise<CommandResult> {
    const { cwd, env } = this.started ?? (await this.context());
    return runCommand({ ...more, argv, cwd, env: { ...env, ...this.config.env }, timeoutMs });
  }
}

function wasRun(result: CommandResult): boolean {
  return result.exitCode !== null || result.signal !== null;
}
