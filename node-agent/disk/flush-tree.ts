/**
 * Flushes what others have written: a migration is a program of the release, and nobody can ask of it that
 * its last bytes are on the disk when it ends. Without this a power cut behind the commit leaves the new
 * release with data that is empty. Belongs to durable-file.ts, the only writer of state on disk.
 */
import { closeSync, constants, fsync, openSync } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { isSystemError, syncFolder } from './durable-file.js';

/** Files that are flushed at once: the disk's journal then takes many in one go. */
const FLUSHES_AT_ONCE = 8;

const flush = promisify(fsync);

/**
 * Returns once a file, or a folder with everything below it, would survive a power cut. Links below it are
 * not followed; what is neither file nor folder has nothing to flush. An absent path is no error.
 * Errors: the system's, unchanged.
 */
export async function flushTree(path: string): Promise<void> {
  const what = await stat(path).catch(orAbsent);
  if (what?.isDirectory()) await flushFolder(path);
  else if (what?.isFile()) {
    await flushFile(path);
    await syncFolder(dirname(path));
  }
}

async function flushFolder(folder: string): Promise<void> {
  const entries = await readdir(folder, { withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).values();
  const workers = Array.from({ length: FLUSHES_AT_ONCE }, async () => {
    for (const { name } of files) await flushFile(join(folder, name));
  });
  await Promise.all(workers);
  for (const entry of entries) if (entry.isDirectory()) await flushFolder(join(folder, entry.name));
  await syncFolder(folder);
}

function orAbsent(error: unknown): undefined {
  if (!isSystemError(error, 'ENOENT')) throw error;
}

async function flushFile(path: string): Promise<void> {
  const file = openSync(path, constants.O_RDONLY);
  try {
    await flush(file);
  } finally {
    closeSync(file);
  }
}
