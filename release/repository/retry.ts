/**
 * Tries again what may pass: DOWNLOAD_FAILED only. A wrong digest, a refused archive or a missing
 * release is the same at every try, so those end at once. Waits grow and are jittered, so that many
 * nodes that lost one server do not come back together.
 */
import pRetry from 'p-retry';
import { PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';

/** Runs a piece of work, up to `limits.downloadTries` times. Throws what the last try threw. */
export function retrying<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
  return pRetry(work, {
    retries: limits.downloadTries - 1,
    minTimeout: limits.downloadRetryMs,
    maxTimeout: limits.downloadRetryMaxMs,
    factor: 2,
    randomize: true,
    shouldRetry: ({ error }) => error instanceof PlexiError && error.code === 'DOWNLOAD_FAILED',
    ...(signal === undefined ? {} : { signal }),
  });
}
