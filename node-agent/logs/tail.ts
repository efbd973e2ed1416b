/**
 * Reads the end of a log, and what comes after it. Invariant: never more than one piece is in memory,
 * nothing is read ahead of whoever takes the pieces, and a log that is set aside meanwhile is read to
 * its end before the new one begins.
 */
import { type FileHandle, open, stat } from 'node:fs/promises';
import { limits } from '../../config/limits.js';
import { isSystemError } from '../disk/durable-file.js';
import { monotonicClock } from '../service/clock.js';

/** Milliseconds between two looks at a log that is followed. */
const LOOK_MS = 100;
const LINE_END = 0x0a;

export interface TailOrder {
  readonly path: string;
  /** How many of the last lines. */
  readonly lines: number;
  /** Go on until the signal is aborted. */
  readonly follow: boolean;
  readonly signal: AbortSignal;
}

/** Pieces of a log of at most limits.logPieceBytes. Errors: the system's, ENOENT when there is no such file. */
export async function* tailLog({ path, lines, follow, signal }: TailOrder): AsyncGenerator<Buffer> {
  let file = await open(path, 'r');
  try {
    let at = await startOfLast(file, lines);
    for (;;) {
      for await (const piece of piecesFrom(file, at)) {
        at += piece.length;
        yield piece;
        if (signal.aborted) return;
      }
      if (!follow) return;
      await monotonicClock.sleep(LOOK_MS, signal);
      if (signal.aborted) return;
      const { ino, size } = await file.stat();
      if (size > at) continue;
      if (size < at) at = 0;
      const now = await inodeOf(path);
      if (now === undefined || now === ino) continue;
      const next = await open(path, 'r');
      await file.close();
      file = next;
      at = 0;
    }
  } finally {
    await file.close();
  }
}

async function* piecesFrom(file: FileHandle, from: number): AsyncGenerator<Buffer> {
  for (let at = from; ; ) {
    const { buffer, bytesRead } = await file.read(
      Buffer.alloc(limits.logPieceBytes),
      0,
      limits.logPieceBytes,
      at,
    );
    if (bytesRead === 0) return;
    yield buffer.subarray(0, bytesRead);
    at += bytesRead;
  }
}

/** Where the last lines begin, in bytes. Looks at limits.logTailBytes at the most, from the end. */
async function startOfLast(file: FileHandle, lines: number): Promise<number> {
  const { size } = await file.stat();
  const first = Math.max(0, size - limits.logTailBytes);
  let found = 0;
  for (let end = size; end > first; ) {
    const start = Math.max(first, end - limits.logPieceBytes);
    const { buffer } = await file.read(Buffer.alloc(end - start), 0, end - start, start);
    for (let at = end - start - 1; at >= 0; at--) {
      // The end of the very last line ends no line before it.
      if (buffer[at] !== LINE_END || start + at === size - 1) continue;
      found++;
      if (found === lines) return start + at + 1;
    }
    end = start;
  }
  return first;
}

async function inodeOf(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).ino;
  } catch (thrown) {
    // It is being set aside in this moment.
    if (isSystemError(thrown, 'ENOENT')) return undefined;
    throw thrown;
  }
}
