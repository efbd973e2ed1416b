/**
 * Packs the files of a release into a `.tar.gz`. Invariant: the archive depends on nothing but the
 * paths, modes and contents of the files (sorted paths, no times, no owners), so building the same
 * tree twice with one Node gives the same bytes; and a file that changed since it was listed stops
 * the build instead of getting into the archive.
 */
import { createHash, type Hash } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGzip, constants as zlib } from 'node:zlib';
import { PlexiError } from '../config/errors.js';
import { createFlags } from './durable-files.js';
import { sortedByPath } from './manifest.js';
import type { ReleaseFile } from './manifest-shape.js';
import { blockBytes, encodeHeader, padded512 } from './tar-header.js';
import { chunksOf } from './tree.js';

/** An archive that was written. */
export interface PackedArchive {
  sizeBytes: number;
  sha256: string;
}

/**
 * Writes the archive of a folder's listed files to a new file, synced. RELEASE_INVALID when a file
 * is not what the list says any more.
 */
export async function packFolder(
  folder: string,
  files: readonly ReleaseFile[],
  archiveFile: string,
): Promise<PackedArchive> {
  const target = await open(archiveFile, createFlags, 0o644);
  try {
    const hash = createHash('sha256');
    const gzip = createGzip({ level: zlib.Z_BEST_COMPRESSION });
    await pipeline(archiveBytes(folder, files), gzip, (chunks: AsyncIterable<Buffer>) =>
      writeAll(chunks, target, hash),
    );
    await target.sync();
    const { size } = await target.stat();
    return { sizeBytes: size, sha256: hash.digest('hex') };
  } finally {
    await target.close();
  }
}

async function writeAll(chunks: AsyncIterable<Buffer>, target: FileHandle, hash: Hash): Promise<void> {
  for await (const chunk of chunks) {
    hash.update(chunk);
    await target.writeFile(chunk);
  }
}

async function* archiveBytes(folder: string, files: readonly ReleaseFile[]): AsyncGenerator<Buffer> {
  for (const file of sortedByPath(files)) {
    yield encodeHeader(file.path, file.mode, file.sizeBytes);
    yield* contents(join(folder, file.path), file);
    yield Buffer.alloc(padded512(file.sizeBytes) - file.sizeBytes);
  }
  yield Buffer.alloc(2 * blockBytes);
}

async function* contents(path: string, expected: ReleaseFile): AsyncGenerator<Buffer> {
  const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const hash = createHash('sha256');
    let sizeBytes = 0;
    for await (const chunk of chunksOf(handle)) {
      sizeBytes += chunk.length;
      if (sizeBytes > expected.sizeBytes) throw changed(path);
      hash.update(chunk);
      yield Buffer.from(chunk);
    }
    if (sizeBytes !== expected.sizeBytes || hash.digest('hex') !== expected.sha256) throw changed(path);
  } finally {
    await handle.close();
  }
}

function changed(path: string): PlexiError {
  return new PlexiError('RELEASE_INVALID', `${path} changed while the release was built; build it again.`);
}
