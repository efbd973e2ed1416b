/** Where journal and fence of a node lie: the real disks behind the two, and no other way to them. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { limits } from '../config/limits.js';
import type { FenceDisk } from './api/fence.js';
import { createDurably, readBounded, removeDurably, writeDurably } from './disk/durable-file.js';
import { triedAgain } from './disk/refusal.js';
import { isSystemError } from './disk/system-error.js';
import type { JournalDisk } from './journal/journal.js';
import type { NodePaths } from './node.js';

export function journalDisk(folder: string): JournalDisk {
  return {
    list: () => readdir(folder),
    read: (name) => readBounded(join(folder, name), limits.journalRecordBytes),
    create: (name, bytes) => triedAgain(() => createDurably(join(folder, name), bytes, { mode: 0o600 })),
    remove: async (name) => {
      await removeDurably(join(folder, name));
    },
  };
}

/** Whether the journal holds records, be it ones that cannot be read: then this node is no new one. */
export async function hasJournal({ journal }: Pick<NodePaths, 'journal'>): Promise<boolean> {
  try {
    return (await readdir(journal)).some((name) => name.endsWith('.json'));
  } catch (thrown) {
    // What cannot be listed may hold anything.
    return !isSystemError(thrown, 'ENOENT');
  }
}

/** The file that holds the fence. */
export function fenceFile({ agent }: Pick<NodePaths, 'agent'>): string {
  return join(agent, 'fence.json');
}

export function fenceDisk(paths: Pick<NodePaths, 'agent'>): FenceDisk {
  const file = fenceFile(paths);
  return {
    read: () => readBounded(file, limits.journalRecordBytes),
    write: (bytes) => triedAgain(() => writeDurably(file, bytes, { mode: 0o600 })),
  };
}

/** The file that holds the record of maintenance. */
export function maintenanceFile({ agent }: Pick<NodePaths, 'agent'>): string {
  return join(agent, 'maintenance.json');
}
