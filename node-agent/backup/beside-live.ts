/**
 * What a restore keeps beside the live tree: `.restore-<id>`, which is unpacked and compared there, and
 * `.replaced-<id>-<path>`, which was live before. A restore that ended half-way leaves them, and the next one
 * needs their room. Invariant: what was live is removed only where something stands in its place again.
 */
import { createHash } from 'node:crypto';
import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { isSystemError, removeTreeDurably } from '../disk/durable-file.js';

const stagedPrefix = '.restore-';
const replacedPrefix = '.replaced-';
/** The longest name that a filesystem takes. */
const NAME_BYTES_MAX = 255;

/** Where a backup is unpacked to be compared. */
export function stagedName(root: string, id: string): string {
  return join(root, `${stagedPrefix}${id}`);
}

/** Where the live one of a path is moved to. */
export function replacedName(root: string, id: string, path: string): string {
  const name = `${replacedPrefix}${id}-${encodeURIComponent(path)}`;
  if (Buffer.byteLength(name) <= NAME_BYTES_MAX) return join(root, name);
  return join(root, `${replacedPrefix}${createHash('sha256').update(name).digest('hex')}`);
}

/**
 * Removes what earlier restores have left, those of other backups too: all that was only unpacked, and of what
 * was live that which `paths` have something in the place of. Errors: the system's.
 */
export async function sweepBesideLive(root: string, id: string, paths: readonly string[]): Promise<void> {
  for (const name of await readdir(root)) {
    // Nobody should call what is backed up like this, and whoever does keeps it.
    if (paths.some((path) => path.split('/')[0] === name)) continue;
    const isUnneeded = name.startsWith(stagedPrefix) || (await isReplacedAgain(root, id, paths, name));
    if (isUnneeded) await removeTreeDurably(join(root, name));
  }
}

/** Whether a name is that of what was live, and each path that it may have been of is there again. */
async function isReplacedAgain(
  root: string,
  id: string,
  paths: readonly string[],
  name: string,
): Promise<boolean> {
  if (!name.startsWith(replacedPrefix)) return false;
  // The id before it is not known, so one name may end as those of two paths do.
  const possible = paths.filter(
    (path) =>
      join(root, name) === replacedName(root, id, path) || name.endsWith(`-${encodeURIComponent(path)}`),
  );
  for (const path of possible) if (!(await exists(join(root, path)))) return false;
  return possible.length > 0;
}

/** Whether anything stands at a path, a link included. */
export async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return false;
    throw error;
  }
}
