/**
 * How much an archive may bring. Invariant: the manifest's own figures are checked before anything is
 * created, and the stream's real ones before each chunk is used, so that neither a bomb nor a lying
 * manifest can fill a disk or the memory (security: caps on count, size and ratio).
 */
import { limits } from '../config/limits.js';
import type { ReleaseArtifact } from './manifest-shape.js';
import { impliedFolders } from './plain-path.js';
import { archiveRefused, blockBytes, padded512 } from './tar-header.js';

/** Zero bytes that may follow the last entry. */
const trailerBytes = 64 * 1024;

/** How far an unpacking is. */
export interface UnpackingProgress {
  /** The entry that an error names. */
  entry: string;
  packedBytes: number;
  unpackedBytes: number;
}

/** Lets through at most what the manifest's files need, and at most the allowed ratio. */
export async function* bounded(
  chunks: AsyncIterable<Uint8Array>,
  progress: UnpackingProgress,
  artifact: ReleaseArtifact,
): AsyncGenerator<Uint8Array> {
  const headersBytes =
    (artifact.files.length + impliedFolders(artifact.files.map(({ path }) => path)).size) *
    (3 * blockBytes + limits.archiveHeaderBytes);
  const contentsBytes = artifact.files.reduce((sum, { sizeBytes }) => sum + padded512(sizeBytes), 0);
  const bytesMax = contentsBytes + headersBytes + trailerBytes;
  for await (const chunk of chunks) {
    progress.unpackedBytes += chunk.byteLength;
    const ratioMax = progress.packedBytes * limits.releaseRatio + limits.releaseRatioSlackBytes;
    if (progress.unpackedBytes > bytesMax)
      throw archiveRefused(progress.entry, 'makes the archive bigger than its manifest');
    if (progress.unpackedBytes > ratioMax) {
      throw archiveRefused(progress.entry, `unpacks to more than ${limits.releaseRatio} times its size`);
    }
    yield chunk;
  }
}

/** Refuses an artifact whose manifest already asks for more than the limits; ARCHIVE_REFUSED. */
export function assertWithinLimits({ file, files, sizeBytes, unpackedBytes }: ReleaseArtifact): void {
  const sum = files.reduce((bytes, it) => bytes + it.sizeBytes, 0);
  if (files.length > limits.releaseEntries)
    throw archiveRefused(file, `has more than ${limits.releaseEntries} files`);
  if (files.some((it) => it.sizeBytes > limits.releaseFileBytes)) {
    throw archiveRefused(file, `has a file of more than ${limits.releaseFileBytes} bytes`);
  }
  if (Math.max(sum, unpackedBytes) > limits.releaseBytes) {
    throw archiveRefused(file, `unpacks to more than ${limits.releaseBytes} bytes`);
  }
  if (sum > sizeBytes * limits.releaseRatio + limits.releaseRatioSlackBytes) {
    throw archiveRefused(file, `unpacks to more than ${limits.releaseRatio} times its size`);
  }
}
