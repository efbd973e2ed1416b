/**
 * Where this checkout (or installed package) stands, and a lock so that only one process at a time
 * installs or builds in it. Plain Node without packages: it runs before `npm ci`.
 *
 * The lock is a folder: mkdir is atomic. Its holder's process id stands inside; a lock whose holder
 * is gone (killed in the middle) is taken over, so nobody ever has to remove one by hand.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

/** The folder that holds package.json. */
export const checkout = fileURLToPath(new URL('../..', import.meta.url));

/** SHA-256, in hex, of a text or of bytes. */
export function sha256(content) {
  return createHash('sha256').update(content).digest('hex');
}

/** The text of a file, or undefined when there is none. */
export function readIfThere(file) {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
    throw error;
  }
}

/** Runs the work while holding the lock `dist/.<name>.lock`; waits for another holder, at most ten minutes. */
export async function withLock(name, work) {
  mkdirSync(join(checkout, 'dist'), { recursive: true });
  const lock = join(checkout, 'dist', `.${name}.lock`);
  await takeLock(lock);
  try {
    return await work();
  } finally {
    rmSync(lock, { recursive: true, force: true });
  }
}

async function takeLock(lock) {
  const giveUpAt = performance.now() + 600_000;
  while (!tryLock(lock)) {
    if (removeWhenStale(lock)) continue;
    if (performance.now() > giveUpAt) {
      throw new Error(`another process has held ${lock} for ten minutes; end it, or remove that folder`);
    }
    await delay(100);
  }
}

function tryLock(lock) {
  if (!tryMkdir(lock)) return false;
  writeFileSync(join(lock, 'pid'), `${process.pid}\n`);
  return true;
}

function tryMkdir(folder) {
  try {
    mkdirSync(folder);
    return true;
  } catch (error) {
    if (error.code === 'EEXIST') return false;
    throw error;
  }
}

/** Removes a dead holder's lock. A second, short-lived folder makes sure that only one waiter does so. */
function removeWhenStale(lock) {
  if (!isStale(lock)) return false;
  const guard = `${lock}.takeover`;
  if (!tryMkdir(guard)) {
    if (ageMs(guard) > 10_000) rmSync(guard, { recursive: true, force: true });
    return false;
  }
  try {
    if (isStale(lock)) rmSync(lock, { recursive: true, force: true });
  } finally {
    rmSync(guard, { recursive: true, force: true });
  }
  return true;
}

function isStale(lock) {
  const holder = readIfThere(join(lock, 'pid'))?.trim();
  if (holder) return !isAlive(Number(holder));
  // No process id yet: the holder is between mkdir and the write, or it died just there.
  return ageMs(lock) > 10_000;
}

/** Milliseconds since the folder was changed; 0 when it is gone. */
function ageMs(folder) {
  return Date.now() - (statSync(folder, { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}
