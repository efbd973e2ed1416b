/**
 * What a disk refuses: it is full, or answers with an error. Often it takes the same a moment later (a log was
 * rotated, a path to it was lost and found), so what may be begun again is tried again, a bounded number of times.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { limits } from '../../config/limits.js';

const refusals: readonly unknown[] = ['EIO', 'ENOSPC', 'EDQUOT'];

/** Whether it was thrown because a disk refused something, itself or as the cause of it. */
export function isRefusal(thrown: unknown): boolean {
  if (!(thrown instanceof Error)) return false;
  return ('code' in thrown && refusals.includes(thrown.code)) || isRefusal(thrown.cause);
}

/**
 * Does something, and again when the disk refuses it; only for what may be begun again wherever it stopped.
 * Errors: those of the last try, unchanged; whatever is no refusal of a disk at once.
 */
export async function triedAgain<T>(work: () => Promise<T>): Promise<T> {
  for (let pauses = 1; pauses < limits.diskTries; pauses++) {
    try {
      return await work();
    } catch (thrown) {
      if (!isRefusal(thrown)) throw thrown;
      await sleep(limits.diskPauseMs * pauses);
    }
  }
  return work();
}
