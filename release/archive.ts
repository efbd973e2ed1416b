/**
 * Unpacks the archive of a release while it is downloaded. Invariant (guarantee 8): whatever the bytes
 * are, nothing is created but the regular files that the manifest lists, with the modes, sizes and
 * contents it lists, inside a folder that was made for them; names, kinds, counts, sizes and the
 * ratio are checked before a byte is written, and again while the bytes run. Folders are made as the
 * listed paths imply. A refusal names the entry.
 */
import { createHash } from 'node:crypto';
import { chmod, mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { PlexiError } from '../config/errors.js';
import { limits } from '../config/limits.js';
import { assertWithinLimits, bounded, type UnpackingProgress } from './archive-bounds.js';
import { ByteReader, UnexpectedEnd } from './byte-reader.js';
import { createFlags, syncFile, syncFolder } from './durable-files.js';
import type { ReleaseArtifact, ReleaseFile } from './manifest-shape.js';
import { foldedPath, impliedFolders, whyNotPlain } from './plain-path.js';
import { quoted } from './quoted.js';
import {
  type ArchiveHeader,
  archiveRefused,
  blockBytes,
  decodeHeader,
  decodePaxPath,
  padded512,
} from './tar-header.js';

/** Bytes that gunzip hands over at a time. */
const chunkBytes = 256 * 1024;
/** Files that are synced side by side. */
const syncWidth = 16;

/** What is still to come, and what came already. */
interface Unpacking extends UnpackingProgress {
  folder: string;
  missing: Map<string, ReleaseFile>;
  /** Folders that the files imply; those that were made already are in `made`. */
  folders: ReadonlySet<string>;
  made: Set<string>;
  /** Folders that had an entry of their own. */
  named: Set<string>;
  /** Every file and folder by the form in which names collide. */
  byFolded: ReadonlyMap<string, string>;
  /** What was thrown, in order; a pipeline may report the abort of another stage instead. */
  failures: unknown[];
}

/**
 * Unpacks a `.tar.gz` into a folder that it creates itself, and syncs everything to the disk. The
 * caller checks the archive's own SHA-256; after an error the folder holds a part and is to be
 * removed. Errors: ARCHIVE_REFUSED; what the stream or the file system throws; the signal's reason.
 */
export async function unpackStrictly(
  stream: Readable,
  folder: string,
  artifact: ReleaseArtifact,
  signal: AbortSignal,
): Promise<void> {
  assertWithinLimits(artifact);
  await mkdir(folder, { mode: 0o700 });
  const unpacking = begin(folder, artifact);
  try {
    await pipeline(
      stream,
      (chunks: AsyncIterable<Uint8Array>) => countPacked(chunks, unpacking),
      createGunzip({ chunkSize: chunkBytes }),
      (chunks: AsyncIterable<Uint8Array>) =>
        unpackEntries(new ByteReader(bounded(chunks, unpacking, artifact)), unpacking, signal),
      { signal },
    );
  } catch (thrown) {
    throw explained(unpacking.failures[0] ?? thrown, unpacking, signal);
  }
  await syncAll(artifact.files, unpacking);
}

function begin(folder: string, artifact: ReleaseArtifact): Unpacking {
  const missing = new Map(artifact.files.map((file) => [file.path, file]));
  const folders = impliedFolders(missing.keys());
  const byFolded = new Map([...folders, ...missing.keys()].map((path) => [foldedPath(path), path]));
  const nothingYet = {
    made: new Set<string>(),
    named: new Set<string>(),
    entry: 'at the start',
    packedBytes: 0,
    unpackedBytes: 0,
    failures: [],
  };
  return { folder, missing, folders, byFolded, ...nothingYet };
}

async function unpackEntries(reader: ByteReader, unpacking: Unpacking, signal: AbortSignal): Promise<void> {
  try {
    for (;;) {
      const header = await nextEntry(reader, unpacking);
      if (header === undefined) break;
      signal.throwIfAborted();
      unpacking.entry = header.path;
      if (header.type === 'folder') takeFolder(header, unpacking);
      else await writeFile(takeFile(header, unpacking), reader, unpacking);
    }
    await assertOnlyZeros(reader, unpacking);
    for (const path of unpacking.missing.keys()) {
      throw archiveRefused(path, 'is in the manifest and not in the archive');
    }
  } catch (thrown) {
    unpacking.failures.push(thrown);
    throw thrown;
  }
}

/** The header of the next entry, its pax header applied; undefined at the two zero blocks at the end. */
async function nextEntry(reader: ByteReader, unpacking: Unpacking): Promise<ArchiveHeader | undefined> {
  const block = await reader.take(blockBytes);
  if (block === undefined) throw new UnexpectedEnd();
  if (isZero(block)) return undefined;
  const header = decodeHeader(block);
  if (header.type !== 'pax') return header;
  unpacking.entry = header.path;
  if (header.sizeBytes > limits.archiveHeaderBytes)
    throw archiveRefused(header.path, 'is a pax header that is too big');
  const body = await reader.take(padded512(header.sizeBytes));
  const next = await reader.take(blockBytes);
  if (body === undefined || next === undefined) throw new UnexpectedEnd();
  const path = decodePaxPath(body.subarray(0, header.sizeBytes));
  if (isZero(next)) throw archiveRefused(path, 'has a pax header and no entry');
  const named = decodeHeader(next);
  if (named.type === 'pax') throw archiveRefused(path, 'has two pax headers');
  return { ...named, path: named.type === 'folder' ? path.replace(/\/$/, '') : path };
}

/** Takes a folder's entry off what may come; it is made when the first file in it comes. */
function takeFolder({ path }: ArchiveHeader, unpacking: Unpacking): void {
  assertExpected(path, unpacking);
  if (!unpacking.folders.has(path)) throw archiveRefused(path, 'is a folder where the manifest has a file');
  if (unpacking.named.has(path)) throw archiveRefused(path, 'stands there twice');
  unpacking.named.add(path);
}

/** Takes a file's entry off what may come, and returns what the manifest says of it. */
function takeFile({ path, sizeBytes }: ArchiveHeader, unpacking: Unpacking): ReleaseFile {
  assertExpected(path, unpacking);
  if (unpacking.folders.has(path)) throw archiveRefused(path, 'is a file where the manifest has a folder');
  const file = unpacking.missing.get(path);
  if (file === undefined) throw archiveRefused(path, 'stands there twice');
  if (sizeBytes !== file.sizeBytes) {
    throw archiveRefused(path, `has ${sizeBytes} bytes instead of ${file.sizeBytes}`);
  }
  unpacking.missing.delete(path);
  return file;
}

function assertExpected(path: string, { byFolded }: Unpacking): void {
  const why = whyNotPlain(path);
  if (why !== undefined) throw archiveRefused(path, why);
  const known = byFolded.get(foldedPath(path));
  if (known === path) return;
  throw archiveRefused(
    path,
    known === undefined ? 'is not in the manifest' : `differs from "${known}" in case only`,
  );
}

async function writeFile(file: ReleaseFile, reader: ByteReader, unpacking: Unpacking): Promise<void> {
  await makeFoldersAbove(file.path, unpacking);
  const hash = createHash('sha256');
  const handle = await open(join(unpacking.folder, file.path), createFlags, 0o600);
  try {
    for await (const chunk of reader.stream(file.sizeBytes)) {
      hash.update(chunk);
      await handle.writeFile(chunk);
    }
    await handle.chmod(file.mode);
  } finally {
    await handle.close();
  }
  if (hash.digest('hex') !== file.sha256)
    throw archiveRefused(file.path, 'has other contents than the manifest says');
  const padding = await reader.take(padded512(file.sizeBytes) - file.sizeBytes);
  if (padding !== undefined && !isZero(padding))
    throw archiveRefused(file.path, 'is followed by bytes that belong to nothing');
}

async function makeFoldersAbove(path: string, { folder, made }: Unpacking): Promise<void> {
  for (const above of impliedFolders([path])) {
    if (made.has(above)) continue;
    await mkdir(join(folder, above), { mode: 0o755 });
    // The service may run as another user than the agent, whose umask cuts what mkdir is given.
    await chmod(join(folder, above), 0o755);
    made.add(above);
  }
}

async function assertOnlyZeros(reader: ByteReader, { entry }: Unpacking): Promise<void> {
  for (;;) {
    const rest = await reader.next(chunkBytes);
    if (rest === undefined) return;
    if (!isZero(rest)) throw archiveRefused(entry, 'is followed by data after the end of the archive');
  }
}

async function* countPacked(
  chunks: AsyncIterable<Uint8Array>,
  unpacking: Unpacking,
): AsyncGenerator<Uint8Array> {
  try {
    for await (const chunk of chunks) {
      unpacking.packedBytes += chunk.byteLength;
      yield chunk;
    }
  } catch (thrown) {
    unpacking.failures.push(thrown);
    throw thrown;
  }
}

/** Everything is synced at the end, many files at a time, which a journaling disk does in one go. */
async function syncAll(files: readonly ReleaseFile[], { folder, folders }: Unpacking): Promise<void> {
  const waiting = files.map(({ path }) => join(folder, path));
  const worker = async (): Promise<void> => {
    for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) await syncFile(path);
  };
  await Promise.all(Array.from({ length: syncWidth }, worker));
  for (const path of folders) await syncFolder(join(folder, path));
  await chmod(folder, 0o755);
  await syncFolder(folder);
}

function explained(thrown: unknown, { entry }: Unpacking, signal: AbortSignal): unknown {
  if (signal.aborted) return signal.reason;
  if (thrown instanceof UnexpectedEnd)
    return archiveRefused(entry, 'is the last one before the archive breaks off');
  const code = thrown instanceof Error && 'code' in thrown ? String(thrown.code) : '';
  if (!code.startsWith('Z_')) return thrown;
  const sentence = `The archive of the release is refused: it is no intact gzip stream near ${quoted(entry)}.`;
  return new PlexiError('ARCHIVE_REFUSED', sentence, { cause: thrown });
}

function isZero(bytes: Buffer): boolean {
  return bytes.every((byte) => byte === 0);
}
