/**
 * Reads a backup's archive against its signed manifest: entry by entry in the manifest's order, each
 * with exactly the name, kind, mode, owner, size, content and link that stand there, nothing missing
 * and nothing extra, and the archive file itself byte for byte. Verifying and restoring both go
 * through here, so what was verified is what a restore unpacks.
 */
import { createHash, type Hash } from 'node:crypto';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { PlexiError } from '../../config/errors.js';
import { type BackupEntry, type BackupManifest, invalid } from './backup-manifest.js';
import type { BackupKeys } from './keys.js';
import { decompress, decrypt } from './seal.js';
import { type TarEntry, unpack } from './tar-stream.js';

/** Bytes that are read from a file at once: half again as fast as 64 KiB. */
const READ_BYTES = 1024 * 1024;

/** Takes the entries of an archive, in its order. `body` must be read to its end. */
export interface ArchiveSink {
  folder(entry: BackupEntry): Promise<void>;
  file(entry: BackupEntry, body: AsyncIterable<Buffer>): Promise<void>;
  link(entry: BackupEntry): Promise<void>;
}

/** What `readArchive` needs. */
export interface ArchiveOrder {
  readonly backupDir: string;
  /** Already checked by `readManifest`. */
  readonly manifest: BackupManifest;
  readonly keys: Pick<BackupKeys, 'ageIdentity'>;
  readonly sink: ArchiveSink;
  readonly signal?: AbortSignal | undefined;
}

/** Counts and hashes what passes through. */
export class Tally {
  sizeBytes = 0;
  private readonly hash: Hash = createHash('sha256');

  async *through<T extends Uint8Array>(source: AsyncIterable<T>): AsyncGenerator<T> {
    for await (const piece of source) {
      this.sizeBytes += piece.length;
      this.hash.update(piece);
      yield piece;
    }
  }

  /** SHA-256 in hex; ends the tally. */
  sha256(): string {
    return this.hash.digest('hex');
  }
}

/**
 * Gives every entry to the sink, and returns once all of it was found right. An entry that reaches
 * the sink is not proved before that.
 * Errors: BACKUP_INVALID with what differs; CANCELLED; a PlexiError of the sink, unchanged.
 */
export async function readArchive(order: ArchiveOrder): Promise<void> {
  const { backupDir, manifest, keys } = order;
  const archive = new Tally();
  try {
    const stored = archive.through(readFileInPieces(join(backupDir, manifest.archive.file), order.signal));
    const compressed = manifest.encryption === 'age' ? decrypt(stored, keys.ageIdentity) : stored;
    await compareAll(manifest.files, unpack(decompress(compressed)), order.sink);
  } catch (error) {
    if (error instanceof PlexiError) throw error;
    throw invalid(backupDir, error instanceof Error ? error.message : String(error), error);
  }
  if (archive.sizeBytes !== manifest.archive.sizeBytes || archive.sha256() !== manifest.archive.sha256) {
    throw invalid(backupDir, `${manifest.archive.file} is not the file that was signed`);
  }
}

/** The content of a file in long pieces. Errors: CANCELLED, and the system's. */
export async function* readFileInPieces(path: string, signal?: AbortSignal): AsyncGenerator<Buffer> {
  const file = await open(path, 'r');
  try {
    for (;;) {
      if (signal?.aborted === true) throw cancelled(path);
      const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(READ_BYTES), 0, READ_BYTES);
      if (bytesRead === 0) return;
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    await file.close();
  }
}

/** The error for a backup or a restore that was told to stop. */
export function cancelled(where: string): PlexiError {
  return new PlexiError('CANCELLED', `the work on ${where} was cancelled`);
}

async function compareAll(
  expected: readonly BackupEntry[],
  found: AsyncIterable<TarEntry>,
  sink: ArchiveSink,
): Promise<void> {
  let at = 0;
  for await (const entry of found) {
    const wanted = expected[at];
    if (wanted === undefined)
      throw new Error(`the archive holds ${entry.path}, which is not in the manifest`);
    at++;
    const difference = differenceOf(wanted, entry);
    if (difference !== undefined) throw new Error(difference);
    await take(wanted, entry, sink);
  }
  const missing = expected[at];
  if (missing !== undefined) throw new Error(`the archive does not hold ${missing.path}`);
}

async function take(wanted: BackupEntry, entry: TarEntry, sink: ArchiveSink): Promise<void> {
  if (wanted.type === 'directory') return sink.folder(wanted);
  if (wanted.type === 'link') return sink.link(wanted);
  const content = new Tally();
  await sink.file(wanted, content.through(entry.body));
  if (content.sizeBytes !== wanted.sizeBytes) throw new Error(`the archive ends inside of ${wanted.path}`);
  if (content.sha256() !== wanted.sha256) throw new Error(`the content of ${wanted.path} is not what it was`);
}

/** What an entry of the archive says other than the manifest; undefined when nothing. */
function differenceOf(wanted: BackupEntry, entry: TarEntry): string | undefined {
  const fields = ['path', 'type', 'mode', 'uid', 'gid', 'sizeBytes', 'link'] as const;
  const field = fields.find((name) => wanted[name] !== entry[name]);
  if (field === undefined) return undefined;
  return `${wanted.path} has ${field} ${wanted[field]} in the manifest and ${entry[field]} in the archive`;
}
