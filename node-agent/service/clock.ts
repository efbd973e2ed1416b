/**
 * Time for everything that waits on a node: monotonic only, so that a wall clock that jumps neither
 * shortens a soak nor lengthens a deadline (design.md, section 7). Handed in, so that tests can run
 * minutes in no time.
 */
import { performance } from 'node:perf_hooks';
import { setTimeout as wait } from 'node:timers/promises';

/** A monotonic clock, in milliseconds. */
export interface MonotonicClock {
  /** Milliseconds since an unknown moment; never goes back. */
  now(): number;
  /** Resolves after `ms`, or as soon as the signal is aborted. Never rejects. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

/** The longest time that a timer of Node can wait; a longer one would end at once. */
const TIMER_MAX_MS = 2 ** 31 - 1;

/** The machine's own monotonic clock. */
export const monotonicClock: MonotonicClock = {
  now: () => performance.now(),
  async sleep(ms, signal) {
    if (signal?.aborted === true) return;
    // The only way this wait can fail is the abort, and then the wait is over.
    const timerMs = Math.min(ms, TIMER_MAX_MS);
    await wait(timerMs, undefined, signal === undefined ? {} : { signal }).catch(() => undefined);
  },
};
