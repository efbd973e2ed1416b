/**
 * Puts data and configuration back as the backup has them, byte for byte. Everything is unpacked and
 * compared beside the live tree first; nothing live is touched before all of it was found right.
 * Then each path is exchanged by two renames: the live one away, the restored one in. A crash at any
 * point leaves the backup as it was, so the whole work may be done again and comes to the same end;
 * the journal sees to it that it is, before the service starts (protocol.md, rules 9 and 10).
 */
import { dirname, join } from 'node:path';
import { asPlexiError, PlexiError } from '../../config/errors.js';
import { ensureFolder, moveDurably, removeTreeDurably } from '../disk/durable-file.js';
import { StagedTree } from '../disk/staged-tree.js';
import { type ArchiveSink, cancelled, readArchive } from './archive.js';
import type { BackupEntry, BackupManifest } from './backup-manifest.js';
import { exists, replacedName, stagedName, sweepBesideLive } from './beside-live.js';
import type { BackupKeys } from './keys.js';
import { readManifestOf } from './verify.js';
import { listTree, sameEntry } from './walk.js';

/** What to restore, and where. The service must be stopped. */
export interface RestoreOrder {
  /** The node's root, absolute. */
  readonly root: string;
  /** The folder of the backup, absolute. */
  readonly backupDir: string;
  readonly keys: BackupKeys;
  /** The backup's id. */
  readonly id: string;
  /** Heeded until the first rename; after that the work is finished. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Restores a backup. A path that was absent then is removed.
 * Errors: BACKUP_INVALID (nothing was changed); CANCELLED (likewise); RESTORE_FAILED: to be called
 * again with the same order once its cause is removed.
 */
export async function restoreBackup(order: RestoreOrder): Promise<BackupManifest> {
  const { root, id } = order;
  const manifest = await readManifestOf(order);
  const staged = stagedName(root, id);
  let isExchanging = false;
  try {
    const paths = manifest.paths.map(({ path }) => path);
    await sweepBesideLive(root, id, paths);
    await unpackBeside(order, manifest, staged);
    await compareStaged(manifest, staged);
    if (order.signal?.aborted === true) throw cancelled(`the restore of ${id}`);
    isExchanging = true;
    for (const { path, present } of manifest.paths) {
      await exchange(root, id, path, present ? join(staged, path) : undefined);
    }
    for (const path of paths) await removeTreeDurably(replacedName(root, id, path));
    await removeTreeDurably(staged);
  } catch (error) {
    // The first error is the one to tell, and whoever records it needs the room.
    if (!isExchanging) await removeTreeDurably(staged).catch(() => undefined);
    throw asPlexiError(error, 'RESTORE_FAILED', `the backup ${id} could not be restored to ${root}`);
  }
  return manifest;
}

async function unpackBeside(order: RestoreOrder, manifest: BackupManifest, staged: string): Promise<void> {
  const { backupDir, keys, signal } = order;
  const tree = await StagedTree.begin(staged);
  const sink: ArchiveSink = {
    folder: (entry) => tree.addFolder(entry).catch(notWritten(entry)),
    file: (entry, body) => tree.addFile(entry, entry.sizeBytes, body).catch(notWritten(entry)),
    link: (entry) => tree.addLink(entry, entry.link ?? '').catch(notWritten(entry)),
  };
  await readArchive({ backupDir, manifest, keys, signal, sink });
  await tree.finish();
}

/** A full disk says nothing against the backup: only what the system refused becomes RESTORE_FAILED. */
function notWritten(entry: BackupEntry) {
  return (error: unknown): never => {
    if (!(error instanceof Error && 'syscall' in error)) throw error;
    throw asPlexiError(error, 'RESTORE_FAILED', `${entry.path} could not be restored`);
  };
}

/** The content was compared while it was unpacked; here is everything else, as it now stands. */
async function compareStaged(manifest: BackupManifest, staged: string): Promise<void> {
  const present = manifest.paths.filter((path) => path.present).map(({ path }) => path);
  const { entries } = await listTree(staged, present);
  for (const [at, wanted] of manifest.files.entries()) {
    const entry = entries[at];
    if (entry !== undefined && sameEntry(wanted, entry)) continue;
    throw new PlexiError(
      'RESTORE_FAILED',
      `${wanted.path} could not be made as the backup has it; nothing live was changed`,
      {
        details: { wanted, found: entry },
      },
    );
  }
}

/**
 * Replaces one live path. After a crash the live one may be missing, or be the restored one of an
 * earlier try while the replaced one still lies there; both come out right.
 */
async function exchange(root: string, id: string, path: string, staged: string | undefined): Promise<void> {
  const live = join(root, path);
  const replaced = replacedName(root, id, path);
  if (await exists(live)) {
    await removeTreeDurably(replaced);
    await moveDurably(live, replaced);
  }
  if (staged === undefined) return;
  await ensureFolder(dirname(live), 0o755);
  await moveDurably(staged, live);
}
