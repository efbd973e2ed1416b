/**
 * Several services as one: they start in their order and stop in the reverse of it. Invariant: all of
 * them run, or the node's service does not; a start that fails half way leaves none behind of those that
 * it has started.
 */
import { asPlexiError, PlexiError } from '../../config/errors.js';
import { type MonotonicClock, monotonicClock } from './clock.js';
import type { ServiceAdapter, ServiceDescription, ServiceSpec } from './service.js';

/** One of several services. */
export interface NamedService {
  readonly name: string;
  readonly adapter: ServiceAdapter;
}

/** Milliseconds for the end of what was started before a later service could not be. */
const stopAfterFailureMs = 10_000;

/** All services of a node, as the one that the agent looks after. */
export class SeveralServices implements ServiceAdapter {
  /** @param services in the order of their start; at least one */
  constructor(
    private readonly services: readonly NamedService[],
    private readonly clock: MonotonicClock = monotonicClock,
  ) {}

  async start(spec: ServiceSpec): Promise<void> {
    await this.refuseWhenOneRuns();
    await this.startInOrder(this.services, spec);
  }

  async startMissing(spec: ServiceSpec): Promise<void> {
    const missing: NamedService[] = [];
    for (const service of this.services) if (!(await service.adapter.isRunning())) missing.push(service);
    await this.startInOrder(missing, spec);
  }

  async stop(timeoutMs: number): Promise<void> {
    await this.stopInReverse(this.services, timeoutMs);
  }

  async isRunning(): Promise<boolean> {
    for (const { adapter } of this.services) if (!(await adapter.isRunning())) return false;
    return true;
  }

  async describe(): Promise<ServiceDescription> {
    const all = await Promise.all(
      this.services.map(async ({ name, adapter }) => ({ name, ...(await adapter.describe()) })),
    );
    const running = all.every((one) => one.running);
    const ended = all.flatMap((one) => (one.ended === undefined ? [] : [`${one.name}: ${one.ended}`]));
    if (!running) return { running, ...(ended.length > 0 && { ended: ended.join(', ') }) };
    const pid = all.find((one) => one.pid !== undefined)?.pid;
    const sinceMs = Math.max(...all.map((one) => one.sinceMs ?? 0));
    return { running, ...(pid !== undefined && { pid }), ...(sinceMs > 0 && { sinceMs }) };
  }

  async pids(): Promise<number[]> {
    const all = await Promise.all(this.services.map(({ adapter }) => adapter.pids()));
    return [...new Set(all.flat())];
  }

  /** A failure takes back what this call has begun, and nothing else. */
  private async startInOrder(services: readonly NamedService[], spec: ServiceSpec): Promise<void> {
    const begun: NamedService[] = [];
    try {
      for (const service of services) {
        begun.push(service);
        await startAndSee(service, spec);
      }
    } catch (thrown) {
      throw await this.takenBack(begun, thrown);
    }
  }

  /** Afterwards whatever runs is of this start, and may be taken back. */
  private async refuseWhenOneRuns(): Promise<void> {
    for (const { name, adapter } of this.services) {
      if (!(await adapter.isRunning())) continue;
      throw new PlexiError(
        'APPLY_FAILED',
        `the service ${name} runs already; it must be stopped before the services can be started`,
      );
    }
  }

  /** Stops what a failed start has begun; the failure to throw, with what could not be stopped. */
  private async takenBack(begun: readonly NamedService[], thrown: unknown): Promise<PlexiError> {
    const failure = asPlexiError(thrown, 'APPLY_FAILED', 'the services could not be started');
    const which = `${begun.at(-1)?.name}: ${failure.message}`;
    const options = { cause: thrown, details: { ...failure.details } };
    try {
      await this.stopInReverse(begun, stopAfterFailureMs);
      return new PlexiError(failure.code, which, options);
    } catch (again) {
      const why = again instanceof Error ? again.message : String(again);
      return new PlexiError(
        failure.code,
        `${which}; and what was started before could not be stopped: ${why}`,
        options,
      );
    }
  }

  /**
   * Stops all that can be stopped, and throws the first failure only then. The time is for all of them;
   * of half of it each has its own share, which a slow one before it cannot use up.
   */
  private async stopInReverse(services: readonly NamedService[], timeoutMs: number): Promise<void> {
    const deadline = this.clock.now() + timeoutMs;
    const shareMs = timeoutMs / (2 * Math.max(1, services.length));
    let waiting = services.length;
    const failures: PlexiError[] = [];
    for (const { name, adapter } of [...services].reverse()) {
      waiting -= 1;
      try {
        await adapter.stop(Math.max(shareMs, deadline - this.clock.now() - waiting * shareMs));
      } catch (thrown) {
        failures.push(asPlexiError(thrown, 'STOP_FAILED', `the service ${name} could not be stopped`));
      }
    }
    const [first] = failures;
    if (first === undefined) return;
    throw new PlexiError(first.code, failures.map(({ message }) => message).join('; '), {
      cause: first,
      details: first.details,
    });
  }
}

/** The next service may rely on this one, so it must live. */
async function startAndSee({ adapter }: NamedService, spec: ServiceSpec): Promise<void> {
  await adapter.start(spec);
  if (await adapter.isRunning()) return;
  const { ended } = await adapter.describe();
  throw new PlexiError(
    'APPLY_FAILED',
    `it ended right after its start${ended === undefined ? '' : ` (${ended})`}`,
  );
}
