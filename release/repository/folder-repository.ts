/**
 * A release repository in a folder of this machine, or of a share that looks like one. Invariant:
 * only regular files are read, and none beyond its bound.
 */
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { asPlexiError, PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import { isErrno } from '../durable-files.js';
import type { ReleaseArtifact } from '../manifest-shape.js';
import { readFlags, readIfThere } from '../small-file.js';
import { indexName, manifestName, parseIndex, versionSegment } from './layout.js';
import type { FetchedManifest, ReleaseRepository } from './release-repository.js';
import { manifestSha256, verifyManifest } from './verify.js';

/** A repository in a folder; nothing is read yet. */
export function folderRepository(folder: string): ReleaseRepository {
  return {
    location: folder,
    list: async () => {
      const file = join(folder, indexName);
      const bytes = await readSmall(file, limits.repositoryIndexBytes);
      if (bytes !== undefined) return parseIndex(bytes, file);
      throw new PlexiError(
        'RELEASE_NOT_FOUND',
        `${folder} is no release repository: it has no ${indexName}; plexictl release build makes one.`,
      );
    },
    manifest: (version) => readManifest(folder, version),
    artifact: (version, artifact, signal, fromByte = 0) =>
      readArtifact(folder, version, artifact, signal, fromByte),
  };
}

async function readManifest(folder: string, version: string): Promise<FetchedManifest> {
  const bytes = await readSmall(join(folder, versionSegment(version), manifestName), limits.manifestBytes);
  if (bytes === undefined) {
    throw new PlexiError(
      'RELEASE_NOT_FOUND',
      `${version} is not in the release repository ${folder}; plexictl release list shows what is.`,
    );
  }
  return { bytes, sha256: manifestSha256(bytes), manifest: verifyManifest(bytes, undefined) };
}

async function readArtifact(
  folder: string,
  version: string,
  { file }: ReleaseArtifact,
  signal: AbortSignal,
  fromByte: number,
): Promise<Readable> {
  const path = join(folder, versionSegment(version), file);
  try {
    const handle = await open(path, readFlags);
    if ((await handle.stat()).isFile()) return handle.createReadStream({ start: fromByte, signal });
    await handle.close();
    throw new PlexiError('RELEASE_INVALID', `${path} is not a regular file; publish ${version} again.`);
  } catch (thrown) {
    if (isErrno(thrown, 'ENOENT')) {
      throw new PlexiError('RELEASE_NOT_FOUND', `${path} is missing; publish ${version} again.`, {
        cause: thrown,
      });
    }
    throw asPlexiError(thrown, 'DOWNLOAD_FAILED', `${path} cannot be read`);
  }
}

async function readSmall(file: string, bytesMax: number): Promise<Buffer | undefined> {
  try {
    return await readIfThere(file, bytesMax);
  } catch (thrown) {
    throw asPlexiError(thrown, 'DOWNLOAD_FAILED', `${file} cannot be read`);
  }
}
