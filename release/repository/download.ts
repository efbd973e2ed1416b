/**
 * The bytes of an archive, checked on their way. Invariant: whoever reads this stream to its end has
 * read exactly the artifact that the manifest names; a wrong size or SHA-256 is an error before the
 * end, and never tried again. A broken connection is taken up again at the byte where it broke, unless
 * all bytes had come, and the tries are counted anew after each byte that came.
 */
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { PlexiError } from '../../config/errors.js';
import type { ReleaseArtifact } from '../manifest-shape.js';
import type { ReleaseRepository } from './release-repository.js';
import { retrying } from './retry.js';

/** What to download, and who wants to know how far it is. */
export interface Download {
  repository: ReleaseRepository;
  version: string;
  artifact: ReleaseArtifact;
  signal: AbortSignal;
  /** Called with whole percents, from 0 to 100, each at most once. */
  onProgress?: (percent: number) => void;
}

/**
 * Opens the download. The stream's errors: DOWNLOAD_FAILED, RELEASE_NOT_FOUND,
 * RELEASE_DIGEST_MISMATCH, or the signal's reason.
 */
export function downloadArtifact(download: Download): Readable {
  return Readable.from(checkedBytes(download), { objectMode: false });
}

async function* checkedBytes(download: Download): AsyncGenerator<Uint8Array> {
  const { artifact, version } = download;
  const report = percentReporter(artifact.sizeBytes, download.onProgress);
  const hash = createHash('sha256');
  let received = 0;
  report(received);
  for await (const chunk of resumedBytes(download)) {
    received += chunk.byteLength;
    if (received > artifact.sizeBytes) {
      throw mismatch(version, artifact, `has more than the ${artifact.sizeBytes} bytes of the manifest`);
    }
    hash.update(chunk);
    yield chunk;
    report(received);
  }
  const sha256 = hash.digest('hex');
  if (sha256 !== artifact.sha256) {
    throw mismatch(version, artifact, `has SHA-256 ${sha256} instead of ${artifact.sha256}`);
  }
}

/** All bytes of the artifact, over as many connections as it takes. */
async function* resumedBytes({
  repository,
  version,
  artifact,
  signal,
}: Download): AsyncGenerator<Uint8Array> {
  let connection: AsyncIterator<Uint8Array> | undefined;
  let received = 0;
  const next = async (): Promise<Uint8Array | undefined> => {
    // A connection may break behind the last byte; a server has no part that begins there.
    if (connection === undefined && received > 0 && received >= artifact.sizeBytes) return undefined;
    try {
      connection ??= iteratorOf(await repository.artifact(version, artifact, signal, received));
      const { value, done } = await connection.next();
      if (done !== true) return value;
      if (received >= artifact.sizeBytes) return undefined;
      throw new PlexiError(
        'DOWNLOAD_FAILED',
        `The download of ${artifact.file} from ${repository.location} broke off after ${received} of ` +
          `${artifact.sizeBytes} bytes; see whether the server and its disk are well.`,
      );
    } catch (thrown) {
      connection = undefined;
      throw transport(thrown, artifact, signal);
    }
  };
  try {
    for (;;) {
      const chunk = await retrying(next, signal);
      if (chunk === undefined) return;
      received += chunk.byteLength;
      yield chunk;
    }
  } finally {
    await connection?.return?.();
  }
}

function iteratorOf(stream: Readable): AsyncIterator<Uint8Array> {
  return stream[Symbol.asyncIterator]();
}

function transport(thrown: unknown, { file }: ReleaseArtifact, signal: AbortSignal): unknown {
  if (signal.aborted) return signal.reason;
  if (thrown instanceof PlexiError) return thrown;
  const reason = thrown instanceof Error ? thrown.message : String(thrown);
  return new PlexiError('DOWNLOAD_FAILED', `The download of ${file} broke: ${reason}.`, { cause: thrown });
}

function mismatch(version: string, { file }: ReleaseArtifact, why: string): PlexiError {
  return new PlexiError(
    'RELEASE_DIGEST_MISMATCH',
    `The archive ${file} of ${version} ${why}; find out who changed it, then publish the release again.`,
  );
}

function percentReporter(totalBytes: number, onProgress: Download['onProgress']): (bytes: number) => void {
  let last = -1;
  return (bytes) => {
    const percent = totalBytes === 0 ? 100 : Math.floor((bytes / totalBytes) * 100);
    if (percent === last) return;
    last = percent;
    onProgress?.(percent);
  };
}
