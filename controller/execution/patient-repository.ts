/**
 * The release repository as the leader reads it for one plan: within a bounded time, because it plans in its
 * loop, and no node is looked after meanwhile. A wish that is refused for it can be said again.
 */
import { PlexiError } from '../../config/errors.js';
import type { ReleaseRepository } from '../../release/repository/fetch.js';

/**
 * @param timeoutMs for all that is read through it, from now on
 * Errors of its methods: DOWNLOAD_FAILED when the time is over, and the repository's own.
 */
export function patientRepository(repository: ReleaseRepository, timeoutMs: number): ReleaseRepository {
  const signal = AbortSignal.timeout(timeoutMs);
  const bounded = async <T>(read: (signal: AbortSignal) => Promise<T>): Promise<T> => {
    try {
      return await read(signal);
    } catch (thrown) {
      if (!signal.aborted) throw thrown;
      const sentence = `the release repository ${repository.location} did not answer within ${timeoutMs / 1_000} s; see that it can be reached from this controller, and say it again`;
      throw new PlexiError('DOWNLOAD_FAILED', sentence, { cause: thrown });
    }
  };
  return {
    location: repository.location,
    list: () => bounded((until) => repository.list(until)),
    manifest: (version) => bounded((until) => repository.manifest(version, until)),
    artifact: (version, artifact, own, fromByte) => repository.artifact(version, artifact, own, fromByte),
  };
}
