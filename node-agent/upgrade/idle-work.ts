/**
 * What a node does while no job has it: the start of a service that has died, the clean-up behind a job. A job that
 * comes waits for it, and so never meets it; what may take long is told to end then.
 */
import { limits } from '../../config/limits.js';

export class IdleWork {
  private under: Promise<unknown> = Promise.resolve();
  private ending = new AbortController();

  /** @param endMs milliseconds that a job waits for what was told to end, and hangs */
  constructor(private readonly endMs: number = limits.cleanUpEndMs) {}

  /** Does something to its end, beside what is done already. @throws what the work throws */
  async do(work: () => Promise<void>): Promise<void> {
    const done = work();
    this.under = Promise.allSettled([this.under, done]);
    await done;
  }

  /** Begins something that never throws, and that ends early once its signal is aborted. */
  begin(work: (signal: AbortSignal) => Promise<void>): void {
    this.ending = new AbortController();
    const { signal } = this.ending;
    void this.do(() => Promise.race([work(signal), this.hangs(signal)]));
  }

  /** Tells what may end early to do so. Resolves once nothing is done any more, or hangs. */
  async end(): Promise<void> {
    this.ending.abort();
    await this.under;
  }

  /** Resolves so long after the signal; a folder on a mount that hangs must not keep every job away. */
  private hangs(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      signal.addEventListener('abort', () => setTimeout(resolve, this.endMs).unref(), { once: true });
    });
  }
}
