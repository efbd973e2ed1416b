/**
 * The files of a folder that was never built as a release. Invariant: everything listed is a regular
 * file below that folder, with a path that a release may hold, and within the bounds of a release. A
 * link inside the folder stands for what it leads to, since a release holds no links.
 */
import { lstat, realpath } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import type { ReleaseFile } from '../../release/manifest-shape.js';
import { collisions, completeMark, whyNotPlain } from '../../release/plain-path.js';
import { quoted } from '../../release/quoted.js';
import { releaseFileName } from '../../release/repository/release-file.js';
import { readFacts, walk } from '../../release/tree.js';
import { isSystemError } from '../disk/durable-file.js';
import { isInside } from './running-process.js';

/** A file with the place that it is read from. */
export interface FolderFile extends ReleaseFile {
  /** Absolute, and no link. */
  readonly source: string;
}

/** Problems that one error names. */
const problemsShown = 20;

interface Listing {
  readonly root: string;
  readonly skipped: ReadonlySet<string>;
  readonly signal: AbortSignal;
  readonly files: FolderFile[];
  readonly problems: string[];
  bytes: number;
}

/**
 * Lists and hashes the files of a folder. Left out, as when a release is built, are `release.yml`,
 * `.git` at any depth, and what `exclude` names.
 * @param root the folder's real path
 * @throws PlexiError TAKE_OVER_FAILED with what no release may hold: links that lead out of it, devices,
 * sockets, strange paths, too much
 */
export async function folderFiles(
  root: string,
  exclude: readonly string[],
  signal: AbortSignal,
): Promise<FolderFile[]> {
  const skipped = new Set([releaseFileName, completeMark, ...exclude]);
  const listing: Listing = { root, skipped, signal, files: [], problems: [], bytes: 0 };
  await listBelow(listing, root, '', []);
  if (listing.files.length === 0 && listing.problems.length === 0) listing.problems.push('it has no files');
  listing.problems.push(...collisions(listing.files.map(({ path }) => path)).slice(0, problemsShown));
  if (listing.problems.length === 0) return listing.files;
  throw new PlexiError(
    'TAKE_OVER_FAILED',
    `${root} cannot become a release: ${listing.problems.join('; ')}; remove what does not belong there, or list it under exclude: in its ${releaseFileName}`,
    { details: { problems: listing.problems } },
  );
}

/** @param entered the real folders that links have led through, and those they stand in */
async function listBelow(
  listing: Listing,
  folder: string,
  prefix: string,
  entered: readonly string[],
): Promise<void> {
  const pathOf = (path: string): string => (prefix === '' ? path : `${prefix}/${path}`);
  const skip = (path: string): boolean =>
    listing.skipped.has(pathOf(path)) || path.split('/').at(-1) === '.git';
  for await (const { path, kind } of walk(folder, skip)) {
    listing.signal.throwIfAborted();
    if (listing.problems.length >= problemsShown) return;
    if (kind === 'file') await addFile(listing, pathOf(path), join(folder, path));
    if (kind === 'other') await followLink(listing, pathOf(path), join(folder, path), entered);
  }
}

async function addFile(listing: Listing, path: string, source: string): Promise<void> {
  const { size, mode } = await lstat(source);
  listing.bytes += size;
  const why =
    whyNotPlain(path) ?? ((mode & 0o7000) === 0 ? undefined : 'is setuid, setgid or sticky') ?? tooBig(size);
  if (why !== undefined) listing.problems.push(`${quoted(path)} ${why}`);
  else if (listing.files.length >= limits.releaseEntries)
    endAt(listing.root, `it has more than ${limits.releaseEntries} files`);
  else if (listing.bytes > limits.releaseBytes)
    endAt(listing.root, `it has more than ${limits.releaseBytes} bytes`);
  else listing.files.push({ path, source, ...(await readFacts(source, listing.signal)) });
}

function tooBig(sizeBytes: number): string | undefined {
  return sizeBytes > limits.releaseFileBytes ? `has more than ${limits.releaseFileBytes} bytes` : undefined;
}

/** A bound of the whole folder is passed: nothing more is looked at. */
function endAt(root: string, problem: string): never {
  throw new PlexiError(
    'TAKE_OVER_FAILED',
    `${root} cannot become a release: ${problem}; name a folder that holds the program only`,
  );
}

async function followLink(
  listing: Listing,
  path: string,
  link: string,
  entered: readonly string[],
): Promise<void> {
  const problem = (what: string): void => void listing.problems.push(`${quoted(path)} ${what}`);
  if (!(await lstat(link)).isSymbolicLink()) return problem('is a device, a socket or a pipe');
  const target = await targetOf(link);
  if (target === undefined) return problem('is a link that leads nowhere');
  if (!isInside(listing.root, target)) return problem('is a link that leads out of the folder');
  const facts = await lstat(target);
  if (facts.isFile()) return addFile(listing, path, target);
  if (!facts.isDirectory()) return problem('leads to a device, a socket or a pipe');
  const through = [...entered, dirname(link)];
  if (through.some((place) => isInside(target, place))) return problem('is a link that leads in a circle');
  await listBelow(listing, target, path, [...through, target]);
}

async function targetOf(link: string): Promise<string | undefined> {
  try {
    return await realpath(link);
  } catch (thrown) {
    if (isSystemError(thrown, 'ENOENT') || isSystemError(thrown, 'ELOOP')) return undefined;
    throw thrown;
  }
}
