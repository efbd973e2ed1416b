/**
 * Proves that a backup can be restored, by reading all of it: complete, signed by this node, the
 * archive decrypted, unpacked and compared with the manifest (guarantee 5). Writes nothing.
 */
import { type ArchiveSink, readArchive } from './archive.js';
import { type BackupManifest, invalid, readManifest } from './backup-manifest.js';
import type { BackupKeys } from './keys.js';

/** What `verifyBackup` needs. */
export interface VerifyOrder {
  /** The folder of the backup, absolute. */
  readonly backupDir: string;
  /** The backup that must be in it. */
  readonly id: string;
  readonly keys: BackupKeys;
  readonly signal?: AbortSignal | undefined;
}

/** Reads the whole backup and returns its manifest. Errors: BACKUP_INVALID, CANCELLED. */
export async function verifyBackup(order: VerifyOrder): Promise<BackupManifest> {
  const { backupDir, keys, signal } = order;
  const manifest = await readManifestOf(order);
  await readArchive({ backupDir, manifest, keys, signal, sink: readAndForget });
  return manifest;
}

/** The signed manifest, if it is the one of this backup. Errors: BACKUP_INVALID. */
export async function readManifestOf(order: Omit<VerifyOrder, 'signal'>): Promise<BackupManifest> {
  const manifest = await readManifest(order.backupDir, order.keys);
  if (manifest.id === order.id) return manifest;
  throw invalid(order.backupDir, `it is the backup ${manifest.id}, and ${order.id} was asked for`);
}

const readAndForget: ArchiveSink = {
  folder: async () => undefined,
  link: async () => undefined,
  async file(_entry, body) {
    for await (const _piece of body);
  },
};
