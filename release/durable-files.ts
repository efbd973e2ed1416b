/**
 * Puts small files of a release or a repository on disk so that a power cut leaves the old or the new
 * contents, never a mix: write to a temporary file, fsync, rename, fsync the folder. Only this file,
 * the packing and the unpacking write anything that a release is later judged by. An agent's own state
 * is written by node-agent/disk/durable-file.ts, with its modes and its names of temporary files.
 */
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { link, open, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

/** Creates, never follows, never opens what stands there already. */
export const createFlags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

/**
 * Replaces a file as a whole. `temporaryFolder` is where the temporary file stands; it must be on the
 * same file system, and is the file's own folder unless nothing else may ever appear there.
 */
export async function writeDurably(
  file: string,
  bytes: Uint8Array | string,
  temporaryFolder = dirname(file),
): Promise<void> {
  const temporary = await writeTemporary(temporaryFolder, basename(file), bytes);
  await rename(temporary, file);
  await syncFolder(dirname(file));
}

/** Creates a file as a whole. Returns whether it did: false, and nothing changed, when one stands there already. */
export async function tryCreateDurably(file: string, bytes: Uint8Array | string): Promise<boolean> {
  const temporary = await writeTemporary(dirname(file), basename(file), bytes);
  try {
    await link(temporary, file);
  } catch (thrown) {
    if (isErrno(thrown, 'EEXIST')) return false;
    throw thrown;
  } finally {
    await rm(temporary, { force: true });
  }
  await syncFolder(dirname(file));
  return true;
}

/** A name for a temporary file that no other process uses. */
export function temporaryName(folder: string, name: string): string {
  return join(folder, `.${name}.${randomBytes(6).toString('hex')}.tmp`);
}

/** Whether a name is one of `temporaryName`. */
export function isTemporaryName(name: string): boolean {
  return /^\..+\.[0-9a-f]{12}\.tmp$/.test(name);
}

/** Makes the entries of a folder survive a power cut. */
export async function syncFolder(folder: string): Promise<void> {
  await syncPath(folder, constants.O_RDONLY | constants.O_DIRECTORY);
}

/** Makes the contents of a file survive a power cut. */
export async function syncFile(file: string): Promise<void> {
  await syncPath(file, constants.O_RDONLY | constants.O_NOFOLLOW);
}

/** Whether something thrown is the file system's error of that code. */
export function isErrno(thrown: unknown, code: string): boolean {
  return thrown instanceof Error && 'code' in thrown && thrown.code === code;
}

async function writeTemporary(folder: string, name: string, bytes: Uint8Array | string): Promise<string> {
  const temporary = temporaryName(folder, name);
  const handle = await open(temporary, createFlags, 0o644);
  try {
    await handle.writeFile(bytes);
    await handle.sync();
  } finally {
    await handle.close();
  }
  return temporary;
}

async function syncPath(path: string, flags: number): Promise<void> {
  const handle = await open(path, flags);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
