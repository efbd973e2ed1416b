/**
 * One build at a time decides what a version holds. Invariant: a lock appears whole, with the process that
 * holds it, and is removed by that process, or, once that is known to be dead, by whoever holds the lock on its
 * removal, which is named after it. So nobody removes a lock that somebody took in the meantime. A lock whose
 * holder cannot be asked about (another host, another boot) is left to a person.
 */
import { randomUUID } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { z } from 'zod';
import { PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import { tryCreateDurably } from '../durable-files.js';
import { quoted } from '../quoted.js';
import { readIfThere } from '../small-file.js';
import { isKnownDead, thisBuilder } from './builder.js';

/** The lock's name in a version's folder. */
const lockName = '.build.lock';

const lockSchema = z.object({
  id: z.uuid(),
  pid: z.int().min(1),
  host: z.string(),
  system: z.string(),
  started: z.string(),
  since: z.iso.datetime(),
});

type Lock = z.infer<typeof lockSchema>;

/**
 * Does work while no other build that asks for the lock of this folder does. CONFLICT, with the holder's
 * process and host, when it was not free within `waitMs`; else what the work throws.
 */
export function whileLocked<T>(
  folder: string,
  work: () => Promise<T>,
  waitMs: number = limits.buildLockWaitMs,
): Promise<T> {
  return withLock(join(folder, lockName), work, performance.now() + waitMs);
}

async function withLock<T>(file: string, work: () => Promise<T>, untilMs: number): Promise<T> {
  const lock: Lock = { id: randomUUID(), ...thisBuilder(), since: new Date().toISOString() };
  while (!(await tryCreateDurably(file, `${JSON.stringify(lock)}\n`))) await letGo(file, untilMs);
  try {
    return await work();
  } finally {
    await removeLock(file, lock.id);
  }
}

/** Waits a moment for the holder, or removes the lock of a dead one. */
async function letGo(file: string, untilMs: number): Promise<void> {
  const holder = await readLock(file);
  if (holder === undefined) return;
  if (isKnownDead(holder)) {
    await withLock(`${file}.${holder.id}`, () => removeLock(file, holder.id), untilMs);
    return;
  }
  if (performance.now() >= untilMs) throw isHeld(file, holder);
  await setTimeout(limits.buildLockPollMs);
}

async function removeLock(file: string, id: string): Promise<void> {
  if ((await readLock(file))?.id === id) await rm(file, { force: true });
}

async function readLock(file: string): Promise<Lock | undefined> {
  const bytes = await readIfThere(file, limits.buildLockBytes);
  if (bytes === undefined) return undefined;
  try {
    return lockSchema.parse(JSON.parse(bytes.toString('utf8')));
  } catch (thrown) {
    throw new PlexiError(
      'CONFLICT',
      `${file} keeps other builds away and cannot be read; when no build of this version is under way, remove it.`,
      { cause: thrown },
    );
  }
}

function isHeld(file: string, { pid, host, since }: Lock): PlexiError {
  return new PlexiError(
    'CONFLICT',
    `Another build publishes the same version: process ${pid} on ${quoted(host)} since ${since}. ` +
      `Wait until it has ended; if it runs no more, remove ${file}.`,
    { details: { pid, host, since, file } },
  );
}
