/**
 * The files of a release as they stand in the folder it is built from. Invariant: what is listed here
 * is what any node can hold: regular files with plain, non-colliding paths, and one of two modes, so
 * that neither a umask nor a stray link on the build machine gets into a release.
 */
import { constants } from 'node:fs';
import { open, realpath } from 'node:fs/promises';
import { join, relative, sep } from 'node:path';
import { PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import { isErrno } from '../durable-files.js';
import type { ReleaseFile } from '../manifest-shape.js';
import { collisions, whyNotPlain } from '../plain-path.js';
import { quoted } from '../quoted.js';
import { readFacts, walk } from '../tree.js';
import type { VersionScheme } from '../version.js';
import { releaseFileName } from './release-file.js';

/** Bytes of VERSION.txt that are read. */
const versionFileBytes = 4 * 1024;
/** Problems that one error names. */
const problemsShown = 20;

/**
 * Lists and hashes the files of a folder. Left out are `release.yml`, `.git` at any depth, what the
 * release excludes, and the repository when it stands inside the folder; an empty folder is no part
 * of a release. RELEASE_INVALID with all links, special files and paths that no release may hold.
 */
export async function listSource(
  folder: string,
  repository: string,
  exclude: readonly string[],
): Promise<ReleaseFile[]> {
  const skipped = new Set([releaseFileName, ...exclude, ...(await insideOf(folder, repository))]);
  const skip = (path: string): boolean => skipped.has(path) || path.split('/').at(-1) === '.git';
  const files: ReleaseFile[] = [];
  const problems: string[] = [];
  for await (const { path, kind } of walk(folder, skip)) {
    if (kind === 'folder') continue;
    const why = kind === 'other' ? 'is a link or a special file' : whyNotPlain(path);
    if (why !== undefined) problems.push(`${quoted(path)} ${why}`);
    else files.push({ path, ...(await factsOf(join(folder, path))) });
    if (files.length > limits.releaseEntries)
      problems.push(`it has more than ${limits.releaseEntries} files`);
    if (problems.length >= problemsShown) break;
  }
  if (files.length === 0 && problems.length === 0) problems.push('it has no files');
  problems.push(...collisions(files.map(({ path }) => path)).slice(0, problemsShown));
  if (problems.length > 0) throw sourceInvalid(folder, problems);
  return files;
}

/** Holds the version against the first line of VERSION.txt, where there is one; RELEASE_INVALID. */
export async function assertVersionFile(
  folder: string,
  version: string,
  scheme: VersionScheme,
): Promise<void> {
  const file = join(folder, 'VERSION.txt');
  const line = await firstLine(file);
  if (line === undefined || isSame(line, version, scheme)) return;
  throw new PlexiError(
    'RELEASE_INVALID',
    `${file} says ${quoted(line)}, but the release is to be ${version}; correct the one that is wrong.`,
  );
}

function isSame(line: string, version: string, scheme: VersionScheme): boolean {
  try {
    return scheme.parse(line).canonical === version;
  } catch (thrown) {
    if (thrown instanceof PlexiError && thrown.code === 'VERSION_INVALID') return false;
    throw thrown;
  }
}

async function firstLine(file: string): Promise<string | undefined> {
  try {
    const handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(versionFileBytes), 0, versionFileBytes, 0);
      return buffer.toString('utf8', 0, bytesRead).split('\n', 1).join('').trim();
    } finally {
      await handle.close();
    }
  } catch (thrown) {
    if (isErrno(thrown, 'ENOENT')) return undefined;
    throw thrown;
  }
}

async function factsOf(path: string): Promise<Omit<ReleaseFile, 'path'>> {
  const { mode, sizeBytes, sha256 } = await readFacts(path);
  return { mode: (mode & 0o100) === 0 ? 0o644 : 0o755, sizeBytes, sha256 };
}

/** Links are followed, for a repository may be named through one; one that is not there yet holds nothing. */
async function insideOf(folder: string, repository: string): Promise<string[]> {
  const real = await realpathIfThere(repository);
  if (real === undefined) return [];
  const path = relative(await realpath(folder), real);
  if (path === '') throw sourceInvalid(folder, ['it is also the repository; keep them apart']);
  const steps = path.split(sep);
  return steps[0] === '..' ? [] : [steps.join('/')];
}

async function realpathIfThere(path: string): Promise<string | undefined> {
  try {
    return await realpath(path);
  } catch (thrown) {
    if (isErrno(thrown, 'ENOENT')) return undefined;
    throw thrown;
  }
}

function sourceInvalid(folder: string, problems: readonly string[]): PlexiError {
  return new PlexiError(
    'RELEASE_INVALID',
    `${folder} cannot become a release: ${problems.join('; ')}. Remove what does not belong, or list it under exclude: in ${releaseFileName}.`,
    { details: { problems } },
  );
}
