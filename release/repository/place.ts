/**
 * What stands on a node's disk where a release shall stand. Invariant: only an incomplete rest is
 * removed here; what is marked complete, or what one of the node's links leads to, is kept however it was
 * changed, because the service may run from it.
 */
import { readdir, readlink, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import { isErrno, isTemporaryName, syncFolder } from '../durable-files.js';
import type { ReleaseArtifact } from '../manifest-shape.js';
import { treeDifferences } from '../tree.js';
import { installedCopies, installedRelease, manifestEnd, releaseFolderName } from './installed.js';

/** How the name of a release begins that is not whole yet. */
const stagingPrefix = '.staging-';

/** What stands at a release's place: all of it, all but its mark, or nothing. */
export type Found = 'complete' | 'whole' | 'missing';

/**
 * The folder for a release, and what stands there. With `anew` it is the first one that was not changed
 * on the disk; without it a changed one is RELEASE_DIGEST_MISMATCH.
 */
export async function choosePlace(
  artifact: ReleaseArtifact,
  options: { releasesDir: string; version: string; anew?: boolean; signal: AbortSignal },
): Promise<{ folder: string; found: Found }> {
  const { releasesDir, version, signal } = options;
  for (let copy = 1; ; copy++) {
    const folder = releaseFolderName(version, artifact.treeDigest, copy);
    try {
      return { folder, found: await existing(releasesDir, folder, artifact, signal) };
    } catch (thrown) {
      const isChanged = thrown instanceof PlexiError && thrown.code === 'RELEASE_DIGEST_MISMATCH';
      if (options.anew !== true || !isChanged || copy >= limits.releaseCopies) throw thrown;
    }
  }
}

/**
 * What stands at the release's place: `complete`; `whole`, which lacks only its mark; or `missing`,
 * after an incomplete rest was removed. RELEASE_DIGEST_MISMATCH when what is complete or live differs.
 */
async function existing(
  releasesDir: string,
  folder: string,
  artifact: ReleaseArtifact,
  signal: AbortSignal,
): Promise<Found> {
  const path = join(releasesDir, folder);
  if (!(await isThere(path))) return 'missing';
  const differences = await treeDifferences(path, artifact.files, signal);
  const isComplete = await isMarked(releasesDir, folder);
  if (differences.length === 0) return isComplete ? 'complete' : 'whole';
  if (isComplete || (await isLive(releasesDir, folder))) throw changedOnDisk(path, differences);
  await rm(path, { recursive: true });
  return 'missing';
}

/**
 * The folder that a release of this version and tree is run from: of several copies the newest that is
 * still intact, for the older ones were damaged. A single one is not read, which would take as long as
 * the release is big. When there is none, the name that it would have.
 */
export async function folderToRun(releasesDir: string, version: string, treeDigest: string): Promise<string> {
  const copies = (await installedCopies(releasesDir, version)).filter((it) => it.treeDigest === treeDigest);
  if (copies.length > 1) {
    for (const { folder, manifest } of copies) {
      const files = manifest.artifacts.find((it) => it.treeDigest === treeDigest)?.files ?? [];
      if ((await treeDifferences(join(releasesDir, folder), files)).length === 0) return folder;
    }
  }
  return copies[0]?.folder ?? releaseFolderName(version, treeDigest);
}

/** Where the release of a folder is put together, beside it, before it gets its name. */
export function stagingFolder(releasesDir: string, folder: string): string {
  return join(releasesDir, `${stagingPrefix}${folder}`);
}

/**
 * Removes what was half unpacked, half written or half removed when an agent was killed, and returns the names;
 * what a link leads to stays.
 * Only for a moment when nothing is staged (the agent's start): it cannot tell a left-over from work under way.
 */
export async function sweepStaging(releasesDir: string): Promise<string[]> {
  const swept: string[] = [];
  const names = await readdir(releasesDir);
  // A manifest is written beside its release, and stays behind where that was being removed.
  const isAlone = (name: string): boolean =>
    name.endsWith(manifestEnd) && !names.includes(name.slice(0, -manifestEnd.length));
  for (const name of names) {
    const isLeft = name.startsWith(stagingPrefix) || isTemporaryName(name) || isAlone(name);
    if (!isLeft || (await isLive(releasesDir, name))) continue;
    await rm(join(releasesDir, name), { recursive: true, force: true });
    swept.push(name);
  }
  if (swept.length > 0) await syncFolder(releasesDir);
  return swept;
}

/** A damaged mark counts as none: the tree was compared, and the mark is then written again. */
async function isMarked(releasesDir: string, folder: string): Promise<boolean> {
  try {
    return (await installedRelease(releasesDir, folder)) !== undefined;
  } catch (thrown) {
    if (thrown instanceof PlexiError && thrown.code === 'RELEASE_INVALID') return false;
    throw thrown;
  }
}

/** Whether one of the node's links points at the folder. */
export async function isLive(releasesDir: string, folder: string): Promise<boolean> {
  for (const link of ['current', 'previous', 'trial']) {
    if ((await targetOf(join(dirname(releasesDir), link))) === folder) return true;
  }
  return false;
}

async function targetOf(link: string): Promise<string | undefined> {
  try {
    return basename(await readlink(link));
  } catch (thrown) {
    if (isErrno(thrown, 'ENOENT') || isErrno(thrown, 'EINVAL')) return undefined;
    throw thrown;
  }
}

async function isThere(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (thrown) {
    if (isErrno(thrown, 'ENOENT')) return false;
    throw thrown;
  }
}

/** The error for a release whose files are not those of its manifest. */
export function changedOnDisk(path: string, differences: readonly string[]): PlexiError {
  const [first = ''] = differences;
  const more = differences.length > 1 ? ` (and ${differences.length - 1} more)` : '';
  return new PlexiError(
    'RELEASE_DIGEST_MISMATCH',
    `${path} is not what its manifest says: ${first}${more}; move that folder away when nothing runs from it, and try again.`,
    { details: { differences } },
  );
}
