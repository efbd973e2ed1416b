/**
 * Writes a long file durably while it is being made: the bytes go to `<path>.part`, are flushed, and
 * only then get their name. So a file under its own name is always whole, and memory stays bounded
 * whatever the length. Belongs to durable-file.ts.
 */
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { syncFolder } from './durable-file.js';

/** Bytes that are collected before one call to the system: 64 KiB pieces cost 40 % more time. */
const WRITE_BYTES = 1024 * 1024;

/**
 * Writes all of `source` to `path`, which must not exist as `<path>.part`.
 * Errors: those of the source and of the system, unchanged; nothing is left under either name.
 */
export async function writeStreamDurably(
  path: string,
  source: AsyncIterable<Uint8Array>,
  options: { mode?: number } = {},
): Promise<void> {
  const part = `${path}.part`;
  const file = await open(part, 'wx', options.mode ?? 0o600);
  try {
    await writeAll(file, source);
    await file.sync();
  } catch (error) {
    await file.close();
    await rm(part, { force: true });
    throw error;
  }
  await file.close();
  await rename(part, path);
  await syncFolder(dirname(path));
}

/** Writes a stream to an open file in long pieces. The caller flushes. */
export async function writeAll(file: FileHandle, source: AsyncIterable<Uint8Array>): Promise<void> {
  let waiting: Uint8Array[] = [];
  let waitingBytes = 0;
  for await (const piece of source) {
    if (piece.length === 0) continue;
    waiting.push(piece);
    waitingBytes += piece.length;
    if (waitingBytes < WRITE_BYTES) continue;
    await writeWhole(file, waiting, waitingBytes);
    waiting = [];
    waitingBytes = 0;
  }
  if (waitingBytes > 0) await writeWhole(file, waiting, waitingBytes);
}

/** One vectored write; a short one (a full disk, a signal) is finished piece by piece. */
async function writeWhole(file: FileHandle, pieces: Uint8Array[], totalBytes: number): Promise<void> {
  const { bytesWritten } = await file.writev(pieces);
  if (bytesWritten === totalBytes) return;
  await file.writeFile(Buffer.concat(pieces).subarray(bytesWritten));
}
