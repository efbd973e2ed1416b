/**
 * Writes what the agent must still know after a power cut; with durable-stream.ts and staged-tree.ts, which
 * belong to it, it is the only writer of that. Releases are written by release/durable-files.ts. Every
 * function returns after its effect would survive a power cut: the bytes are flushed, then a rename or a
 * link makes them visible, then the folder is flushed.
 * A reader therefore meets the old content or the new, never a part, and never a zero-filled file
 * (design.md, decision 9). A crash leaves at most a `.tmp-…` name, which `sweepTemporary` removes.
 *
 * Only the flushing waits in the thread pool. Opening, writing a few KiB, renaming and removing touch
 * memory alone, and a round trip through the pool for each call doubled the time of one record.
 */
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  constants,
  fsync,
  linkSync,
  openSync,
  renameSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { chmod, mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { isSystemError } from './system-error.js';

export { readBounded } from '../../release/small-file.js';
export { isSystemError } from './system-error.js';

/** How the name of everything begins that is not finished yet. */
export const TEMPORARY_PREFIX = '.tmp-';

/** Permission bits of a state file when the caller does not say: its owner's alone. */
const PRIVATE_FILE_MODE = 0o600;

const flush = promisify(fsync);

/**
 * Replaces the content of a file, or makes it, durably.
 * Errors: those of the system, unchanged (ENOSPC, EIO, …); the old content is then still there, unless only the
 * flush of the folder was refused: then readers meet the new one, and a power cut may bring back the old.
 */
export async function writeDurably(
  path: string,
  bytes: Uint8Array | string,
  options: { mode?: number } = {},
): Promise<void> {
  const temporary = await writeTemporary(path, bytes, options.mode ?? PRIVATE_FILE_MODE);
  try {
    renameSync(temporary, path);
  } catch (error) {
    discard(temporary);
    throw error;
  }
  await syncFolder(dirname(path));
}

/**
 * Makes a file durably, and only when its name is free: of two writers one wins.
 * Errors: EEXIST when the name is taken, which leaves the existing file alone; those of the system, unchanged,
 * and then the name is free again.
 */
export async function createDurably(
  path: string,
  bytes: Uint8Array | string,
  options: { mode?: number } = {},
): Promise<void> {
  const temporary = await writeTemporary(path, bytes, options.mode ?? PRIVATE_FILE_MODE);
  try {
    // A link fails where a rename would overwrite: it is the test and the act in one call.
    linkSync(temporary, path);
  } finally {
    discard(temporary);
  }
  try {
    await syncFolder(dirname(path));
  } catch (error) {
    // A name that nobody was told of must not stand in the way of the next try.
    discard(path);
    throw error;
  }
}

/** Removes a file or a link durably. False when there was none, which is no error. */
export async function removeDurably(path: string): Promise<boolean> {
  if (!removeName(path)) return false;
  await syncFolder(dirname(path));
  return true;
}

/** Removes a folder (or a file) with all that is in it, durably. An absent one is no error. */
export async function removeTreeDurably(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true, maxRetries: 3 });
  await syncFolder(dirname(path));
}

/**
 * Renames a file or a folder durably; both folders are flushed. On one filesystem only.
 * Errors: those of the system, unchanged (ENOENT, EXDEV, EBUSY, ENOTEMPTY, …).
 */
export async function moveDurably(from: string, to: string): Promise<void> {
  await rename(from, to);
  await syncFolder(dirname(to));
  if (dirname(from) !== dirname(to)) await syncFolder(dirname(from));
}

/**
 * Makes a folder and those above it durably. A new folder gets exactly `mode`, whatever the umask;
 * a folder that exists is left as it is. Errors: ENOTDIR when something else has the name.
 */
export async function ensureFolder(path: string, mode: number): Promise<void> {
  try {
    await mkdir(path, { mode });
  } catch (error) {
    if (isSystemError(error, 'EEXIST')) return refuseUnlessFolder(path);
    if (!isSystemError(error, 'ENOENT')) throw error;
    await ensureFolder(dirname(path), mode);
    return ensureFolder(path, mode);
  }
  await chmod(path, mode);
  await syncFolder(dirname(path));
}

/** Flushes a folder's list of names. */
export async function syncFolder(path: string): Promise<void> {
  const folder = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await flush(folder);
  } finally {
    closeSync(folder);
  }
}

/** Points a symbolic link at `target`, making it when it is absent. A reader never meets a gap. */
export async function swapLinkDurably(linkPath: string, target: string): Promise<void> {
  await setLinksDurably(dirname(linkPath), [[basename(linkPath), target]]);
}

/**
 * Points links of one folder at their targets, in this order, or removes those without a target; then
 * flushes the folder once. A reader never meets a gap in a link. A crash before this returns may leave
 * any of them old or new, so it is only for what is set again after a crash.
 * Errors: those of the system, unchanged; links before the one that failed are set.
 */
export async function setLinksDurably(
  folder: string,
  links: readonly (readonly [name: string, target: string | undefined])[],
): Promise<void> {
  for (const [name, target] of links) {
    if (target === undefined) removeName(join(folder, name));
    else swapLink(join(folder, name), target);
  }
  await syncFolder(folder);
}

/** Removes a symbolic link durably, never what it points at. False when there was none. */
export async function removeLinkDurably(linkPath: string): Promise<boolean> {
  return removeDurably(linkPath);
}

/**
 * Removes what a crash left unfinished in a folder, and returns the names. Only for a moment when
 * nothing writes there (the agent's start): it cannot tell a left-over from work under way.
 */
export async function sweepTemporary(folder: string): Promise<string[]> {
  const names = await readdir(folder);
  const leftOver = names.filter((name) => name.startsWith(TEMPORARY_PREFIX));
  for (const name of leftOver) await rm(join(folder, name), { recursive: true, force: true });
  if (leftOver.length > 0) await syncFolder(folder);
  return leftOver;
}

/** A free name in the same folder: a rename is atomic only inside one filesystem. */
export function temporaryBeside(path: string): string {
  return join(dirname(path), `${TEMPORARY_PREFIX}${randomBytes(9).toString('base64url')}`);
}

/** Writes and flushes the bytes under a temporary name, and returns that name. */
async function writeTemporary(path: string, bytes: Uint8Array | string, mode: number): Promise<string> {
  const temporary = temporaryBeside(path);
  const file = openSync(temporary, 'wx', mode);
  try {
    writeFileSync(file, bytes);
    await flush(file);
  } catch (error) {
    discard(temporary);
    throw error;
  } finally {
    closeSync(file);
  }
  return temporary;
}

function swapLink(linkPath: string, target: string): void {
  const temporary = temporaryBeside(linkPath);
  symlinkSync(target, temporary);
  try {
    renameSync(temporary, linkPath);
  } catch (error) {
    discard(temporary);
    throw error;
  }
}

/** False when there was nothing of this name. */
function removeName(path: string): boolean {
  try {
    unlinkSync(path);
    return true;
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return false;
    throw error;
  }
}

/** Best effort: the error that led here is the one worth telling, and the sweep finds the rest. */
function discard(temporary: string): boolean {
  try {
    unlinkSync(temporary);
    return true;
  } catch {
    return false;
  }
}

async function refuseUnlessFolder(path: string): Promise<void> {
  if ((await stat(path)).isDirectory()) return;
  const error = new Error(`${path} is not a folder; move ${basename(path)} away and try again`);
  throw Object.assign(error, { code: 'ENOTDIR' });
}
