/**
 * Files that serve one boot only: they tell an agent what an earlier one of the same boot has done.
 * They are whole (a rename makes them visible), but not flushed: while the machine runs, every
 * process sees what was written, whoever died since; after a power cut what they tell of is gone
 * (decision 9). Invariant: a reader in the same boot meets the old content or the new. After a power
 * cut anything may stand there, so the content must name its boot, or be older than it.
 */
import { readFileSync, renameSync, statSync, unlinkSync, writeFileSync } from 'node:fs';
import { isSystemError, temporaryBeside } from './durable-file.js';

/** Permission bits: its owner's alone. */
const PRIVATE_FILE_MODE = 0o600;

/** Replaces the content of a file, or makes it, at once. Errors: the system's; the old content is then still there. */
export function writeForThisBoot(path: string, text: string): void {
  const temporary = temporaryBeside(path);
  try {
    writeFileSync(temporary, text, { mode: PRIVATE_FILE_MODE, flag: 'wx' });
    renameSync(temporary, path);
  } catch (error) {
    removeForThisBoot(temporary);
    throw error;
  }
}

/** Removes a file at once. False when there was none, which is no error. */
export function removeForThisBoot(path: string): boolean {
  try {
    unlinkSync(path);
    return true;
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return false;
    throw error;
  }
}

/**
 * Whether a file was last written before the machine was started; false when there is none. By the
 * wall clock: one that was set back since makes a file look younger, which errs to the careful side.
 */
export function isOfEarlierBoot(path: string): boolean {
  const changed = statSync(path, { throwIfNoEntry: false });
  return changed !== undefined && changed.mtimeMs < bootedAtMs();
}

/**
 * When the machine was started, in milliseconds since 1970; NaN, before which nothing was written, where the
 * kernel does not say. Errors: the system's, where there is no /proc.
 */
export function bootedAtMs(): number {
  const bootSeconds = readFileSync('/proc/stat', 'utf8').replace(/^[\s\S]*^btime (\d+)$[\s\S]*$/m, '$1');
  return Number(bootSeconds) * 1_000;
}
