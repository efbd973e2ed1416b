/**
 * A release's files on disk, compared with its manifest. Invariant (guarantee 3): a folder passes
 * only when it holds exactly the listed files, each a regular file with its mode, size and SHA-256,
 * and exactly the folders that those imply; nothing is followed, so a link is never mistaken for
 * what it points at.
 */
import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open, opendir } from 'node:fs/promises';
import { join } from 'node:path';
import { limits } from '../config/limits.js';
import { octal } from './manifest.js';
import type { ReleaseFile } from './manifest-shape.js';
import { completeMark, impliedFolders } from './plain-path.js';

/** Bytes that are read at a time. */
const chunkBytes = 256 * 1024;

/** What stands at one path below a folder. */
export interface TreeEntry {
  path: string;
  kind: 'file' | 'folder' | 'other';
}

/** What one regular file holds. */
export interface FileFacts {
  mode: number;
  sizeBytes: number;
  sha256: string;
}

/**
 * Compares a folder with the files of an artifact. Returns one sentence for each difference; an empty
 * list means equal. The mark of a complete release, at the root, belongs to no release and is passed
 * over. Throws what the file system throws, and the signal's reason once it is aborted.
 */
export async function treeDifferences(
  folder: string,
  files: readonly ReleaseFile[],
  signal?: AbortSignal,
): Promise<string[]> {
  const differences: string[] = [];
  const missing = new Map(files.map((file) => [file.path, file]));
  const folders = impliedFolders(missing.keys());
  for await (const entry of walk(folder)) {
    signal?.throwIfAborted();
    if (entry.path === completeMark) continue;
    const expected = missing.get(entry.path);
    if (entry.kind === 'folder' && folders.has(entry.path)) continue;
    if (expected === undefined) differences.push(`${entry.path}: is not part of the release`);
    else if (entry.kind !== 'file') differences.push(`${entry.path}: is not a regular file`);
    else differences.push(...differencesOf(expected, await readFacts(join(folder, entry.path), signal)));
    missing.delete(entry.path);
    if (differences.length >= limits.treeDifferences) return differences;
  }
  return [...differences, ...[...missing.keys()].map((path) => `${path}: is missing`)];
}

/**
 * Everything below a folder, each folder before what it holds. Links are named and never followed;
 * what `skip` answers true for is left out, with all it holds.
 */
export async function* walk(
  folder: string,
  skip: (path: string) => boolean = () => false,
  below = '',
): AsyncGenerator<TreeEntry> {
  for await (const entry of await opendir(join(folder, below))) {
    const path = below === '' ? entry.name : `${below}/${entry.name}`;
    if (skip(path)) continue;
    yield { path, kind: entry.isFile() ? 'file' : entry.isDirectory() ? 'folder' : 'other' };
    if (entry.isDirectory()) yield* walk(folder, skip, path);
  }
}

/** Mode, size and SHA-256 of a regular file; refuses to follow a link. */
export async function readFacts(file: string, signal?: AbortSignal): Promise<FileFacts> {
  const handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const { mode } = await handle.stat();
    const hash = createHash('sha256');
    let sizeBytes = 0;
    for await (const chunk of chunksOf(handle)) {
      signal?.throwIfAborted();
      hash.update(chunk);
      sizeBytes += chunk.length;
    }
    return { mode: mode & 0o7777, sizeBytes, sha256: hash.digest('hex') };
  } finally {
    await handle.close();
  }
}

/** The bytes of an open file from its start; each chunk is valid until the next one is asked for. */
export async function* chunksOf(handle: FileHandle): AsyncGenerator<Buffer> {
  const buffer = Buffer.allocUnsafe(chunkBytes);
  for (let position = 0; ; ) {
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, position);
    if (bytesRead === 0) return;
    position += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}

function differencesOf(expected: ReleaseFile, found: FileFacts): string[] {
  const { path } = expected;
  const differences: string[] = [];
  if (found.mode !== expected.mode) {
    differences.push(`${path}: has mode ${octal(found.mode)} instead of ${octal(expected.mode)}`);
  }
  if (found.sizeBytes !== expected.sizeBytes) {
    differences.push(`${path}: has ${found.sizeBytes} bytes instead of ${expected.sizeBytes}`);
  } else if (found.sha256 !== expected.sha256) {
    differences.push(`${path}: has other contents`);
  }
  return differences;
}
