/**
 * Makes a backup while the service is stopped: tar, gzip and age in one stream, so that no plaintext
 * is ever on the disk; every file hashed in the pass that reads it; the manifest signed; `.complete`
 * written last; then all of it read back and compared. It succeeds only with a backup that was
 * proved to be restorable (guarantee 5).
 */
import { closeSync, constants, fstatSync, openSync, readSync, type Stats } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { asPlexiError, PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import { ensureFolder, readBounded, removeTreeDurably, writeDurably } from '../disk/durable-file.js';
import { writeStreamDurably } from '../disk/durable-stream.js';
import { cancelled, Tally } from './archive.js';
import {
  type BackupManifest,
  COMPLETE_FILE,
  completeMark,
  MANIFEST_FILE,
  manifestBytes,
  SIGNATURE_FILE,
  signManifest,
} from './backup-manifest.js';
import type { BackupKeys } from './keys.js';
import { compress, encrypt } from './seal.js';
import { pack } from './tar-stream.js';
import { verifyBackup } from './verify.js';
import { type ListedEntry, type Listing, listTree } from './walk.js';

export { treeSizeBytes } from './walk.js';

/** What to back up, and as what. */
export interface BackupOrder {
  /** The node's root, absolute. */
  readonly root: string;
  /** Files and folders below the root; one that does not exist is recorded as absent. */
  readonly paths: readonly string[];
  /** Where backups are, relative to the root. */
  readonly directory: string;
  /** The name of its folder; one id for each attempt of a job. */
  readonly id: string;
  /** The version that ran until now, or `none`. */
  readonly version: string;
  readonly node: string;
  readonly rollout: string;
  /** False leaves the archive unencrypted (`archive.tar.gz`). */
  readonly encryption: boolean;
  readonly keys: BackupKeys;
  /** RFC 3339, UTC. */
  readonly createdAt: string;
  readonly signal?: AbortSignal | undefined;
  /** Called with 0 to 100 as the content is read; reading it back is not counted. */
  readonly onProgress?: (percent: number) => void;
}

/** A finished backup. */
export interface Backup {
  /** Its folder, absolute. */
  readonly backupDir: string;
  readonly manifest: BackupManifest;
}

/** Bytes that are read from a long file at once. */
const READ_BYTES = 1024 * 1024;
/** A file up to this length is read without the thread pool, which would cost ten times its reading. */
const SHORT_BYTES = 64 * 1024;

/**
 * Makes a backup and proves it. Called again with the id of a complete one of the same node, rollout,
 * version and paths, it proves that one and returns it: the repeated step of one job.
 * Errors: BACKUP_FAILED (what cannot be backed up, and why), BACKUP_INVALID (reading it back found a
 * difference), CANCELLED. Nothing incomplete is left then.
 */
export async function createBackup(order: BackupOrder): Promise<Backup> {
  const backupDir = join(order.root, order.directory, checkedId(order.id));
  const existing = await completeBackup(order, backupDir);
  if (existing !== undefined) return { backupDir, manifest: existing };
  try {
    await ensureFolder(join(order.root, order.directory), 0o700);
    await removeTreeDurably(backupDir);
    await ensureFolder(backupDir, 0o700);
    const listing = await listTree(order.root, order.paths);
    await writeParts(order, backupDir, listing);
    const { keys, id, signal } = order;
    return { backupDir, manifest: await verifyBackup({ backupDir, keys, id, signal }) };
  } catch (error) {
    // The first error is the one to tell; what cannot be removed now is removed with the old ones.
    await removeTreeDurably(backupDir).catch(() => undefined);
    throw asPlexiError(error, 'BACKUP_FAILED', `the backup ${order.id} could not be made`);
  }
}

/** A complete backup of this id that this very order would make; undefined when there is none. */
async function completeBackup(order: BackupOrder, backupDir: string): Promise<BackupManifest | undefined> {
  if ((await readBounded(join(backupDir, COMPLETE_FILE), limits.backupKeyBytes)) === undefined)
    return undefined;
  const manifest = await verifyBackup({ backupDir, keys: order.keys, id: order.id, signal: order.signal });
  const isSame =
    manifest.node === order.node &&
    manifest.rollout === order.rollout &&
    manifest.version === order.version &&
    manifest.paths.map(({ path }) => path).join('\0') === order.paths.join('\0');
  if (isSame) return manifest;
  throw new PlexiError(
    'BACKUP_FAILED',
    `there is another backup with the id ${order.id} in ${backupDir}; it is left as it is`,
  );
}

async function writeParts(order: BackupOrder, backupDir: string, listing: Listing): Promise<void> {
  const { keys } = order;
  const file = order.encryption ? 'archive.tar.gz.age' : 'archive.tar.gz';
  const digests = new Map<string, string>();
  const archive = new Tally();
  const compressed = compress(pack(listing.entries, contentReader(order, listing, digests)));
  const stored = order.encryption ? encrypt(compressed, keys.ageRecipient) : compressed;
  await writeStreamDurably(join(backupDir, file), archive.through(stored));
  const manifest: BackupManifest = {
    schema: 1,
    id: order.id,
    node: order.node,
    rollout: order.rollout,
    version: order.version,
    createdAt: order.createdAt,
    paths: listing.paths,
    files: listing.entries.map((entry) => ({ ...entry, sha256: digests.get(entry.path) ?? null })),
    archive: { file, sizeBytes: archive.sizeBytes, sha256: archive.sha256() },
    compression: 'gzip',
    encryption: order.encryption ? 'age' : 'none',
  };
  const bytes = manifestBytes(manifest);
  await writeDurably(join(backupDir, MANIFEST_FILE), bytes);
  await writeDurably(join(backupDir, SIGNATURE_FILE), signManifest(bytes, keys));
  await writeDurably(join(backupDir, COMPLETE_FILE), completeMark(order.id, bytes));
}

/** Reads files for the archive, hashes them in passing, and tells how far it is. */
function contentReader(order: BackupOrder, listing: Listing, digests: Map<string, string>) {
  let doneBytes = 0;
  let toldPercent = -1;
  return async function* contentOf(entry: ListedEntry): AsyncGenerator<Buffer> {
    const content = new Tally();
    for await (const piece of content.through(readUnchanged(order, entry))) {
      doneBytes += piece.length;
      yield piece;
    }
    digests.set(entry.path, content.sha256());
    const percent = Math.floor((100 * doneBytes) / Math.max(1, listing.totalBytes));
    if (percent === toldPercent) return;
    toldPercent = percent;
    order.onProgress?.(percent);
  };
}

/** The content of a file, which must be the one that was listed, before the reading and after it. */
async function* readUnchanged(order: BackupOrder, entry: ListedEntry): AsyncGenerator<Buffer> {
  refuseIfCancelled(order);
  const path = join(order.root, entry.path);
  if (entry.sizeBytes <= SHORT_BYTES) {
    yield readShort(path, entry);
    return;
  }
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    let at = 0;
    while (at < entry.sizeBytes) {
      refuseIfCancelled(order);
      const length = Math.min(READ_BYTES, entry.sizeBytes - at);
      const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(length), 0, length);
      if (bytesRead === 0) throw changed(entry.path);
      at += bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
    if (!isAsListed(entry, await file.stat())) throw changed(entry.path);
  } finally {
    await file.close();
  }
}

function refuseIfCancelled(order: BackupOrder): void {
  if (order.signal?.aborted === true) throw cancelled(`the backup ${order.id}`);
}

function readShort(path: string, entry: ListedEntry): Buffer {
  const file = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const content = Buffer.allocUnsafe(entry.sizeBytes);
    for (let at = 0; at < content.length; ) {
      const bytesRead = readSync(file, content, at, content.length - at, null);
      if (bytesRead === 0) throw changed(entry.path);
      at += bytesRead;
    }
    if (!isAsListed(entry, fstatSync(file))) throw changed(entry.path);
    return content;
  } finally {
    closeSync(file);
  }
}

function isAsListed(entry: ListedEntry, now: Stats): boolean {
  // Two roundings of one time differ by less than a microsecond's worth of milliseconds.
  return now.size === entry.sizeBytes && Math.abs(now.mtimeMs - entry.mtimeMs) < 0.002;
}

function changed(path: string): PlexiError {
  return new PlexiError(
    'BACKUP_FAILED',
    `no backup was made: ${path} changed while it was read; find out what still writes there although the service is stopped`,
    { details: { path } },
  );
}

function checkedId(id: string): string {
  if (/^[A-Za-z0-9_][^/\0]{0,199}$/.test(id)) return id;
  throw new PlexiError('BACKUP_FAILED', `${JSON.stringify(id)} cannot be the name of a backup's folder`);
}
