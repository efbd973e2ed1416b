/**
 * Lists the backups of a node and removes old ones: the newest `keep` stay, and so do those younger
 * than `retentionDays`, whichever keeps more; never a pinned one (that of a rollout which is not
 * final). An unfinished one goes. One that is finished and cannot be read stays, and is named: what
 * cannot be judged is not deleted.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { limits } from '../../config/limits.js';
import { isSystemError, readBounded, removeDurably, removeTreeDurably } from '../disk/durable-file.js';
import { COMPLETE_FILE, MANIFEST_FILE } from './backup-manifest.js';

/** A backup as it lies on the disk; its signature is not checked for a list. */
export interface ListedBackup {
  readonly id: string;
  /** The folder, absolute. */
  readonly backupDir: string;
  readonly state: 'complete' | 'unfinished' | 'unreadable';
  /** The rest is known of a complete one only. */
  readonly facts?: {
    readonly node: string;
    readonly rollout: string;
    readonly version: string;
    readonly createdAt: string;
    /** Of the archive. */
    readonly sizeBytes: number;
  };
}

/** What to keep. */
export interface PruneOrder {
  /** Where the backups are, absolute. */
  readonly directory: string;
  readonly keep: number;
  readonly retentionDays: number;
  readonly now: Date;
  /** Ids that stay in any case. */
  readonly pinned: ReadonlySet<string>;
  /** Aborted: the rest stays for another time. */
  readonly signal?: AbortSignal;
}

/** What was done, as ids. */
export interface PruneResult {
  readonly removed: string[];
  readonly kept: string[];
  /** Kept as well, and to be looked at by a person. */
  readonly unreadable: string[];
}

const DAY_MS = 24 * 60 * 60 * 1_000;

const factsSchema = z.object({
  node: z.string(),
  rollout: z.string(),
  version: z.string(),
  createdAt: z.iso.datetime(),
  archive: z.object({ sizeBytes: z.number() }),
});

/** All backups in a folder, newest first, then those of which no time is known. */
export async function listBackups(directory: string): Promise<ListedBackup[]> {
  const found: ListedBackup[] = [];
  for (const id of await foldersIn(directory)) found.push(await look(id, join(directory, id)));
  return found.sort((a, b) => createdAtMs(b) - createdAtMs(a) || a.id.localeCompare(b.id));
}

/** Removes what need not be kept. No backup may be in the making. Errors: the system's. */
export async function pruneBackups(order: PruneOrder): Promise<PruneResult> {
  const result: PruneResult = { removed: [], kept: [], unreadable: [] };
  const oldestKeptMs = order.now.getTime() - order.retentionDays * DAY_MS;
  let newer = 0;
  for (const backup of await listBackups(order.directory)) {
    if (order.signal?.aborted === true) break;
    const isComplete = backup.state === 'complete';
    const isRecent = isComplete && (newer < order.keep || createdAtMs(backup) >= oldestKeptMs);
    if (isComplete) newer++;
    if (backup.state === 'unreadable') result.unreadable.push(backup.id);
    else if (isRecent || order.pinned.has(backup.id)) result.kept.push(backup.id);
    else {
      await removeBackup(backup);
      result.removed.push(backup.id);
    }
  }
  return result;
}

/** The mark goes first, so that a crash leaves an unfinished backup and not a broken one. */
async function removeBackup(backup: ListedBackup): Promise<void> {
  await removeDurably(join(backup.backupDir, COMPLETE_FILE));
  await removeTreeDurably(backup.backupDir);
}

async function look(id: string, backupDir: string): Promise<ListedBackup> {
  try {
    const mark = await readBounded(join(backupDir, COMPLETE_FILE), limits.backupKeyBytes);
    if (mark === undefined) return { id, backupDir, state: 'unfinished' };
    const bytes = await readBounded(join(backupDir, MANIFEST_FILE), limits.backupManifestBytes);
    const { archive, ...facts } = factsSchema.parse(JSON.parse(bytes?.toString('utf8') ?? ''));
    return { id, backupDir, state: 'complete', facts: { ...facts, sizeBytes: archive.sizeBytes } };
  } catch {
    // Its state says so; whoever restores it is told what is wrong.
    return { id, backupDir, state: 'unreadable' };
  }
}

async function foldersIn(directory: string): Promise<string[]> {
  try {
    const entries = await readdir(directory, { withFileTypes: true });
    return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return [];
    throw error;
  }
}

function createdAtMs(backup: ListedBackup): number {
  return backup.facts === undefined ? Number.NEGATIVE_INFINITY : Date.parse(backup.facts.createdAt);
}
