/**
 * Reads a small file whole, within a bound, and nothing but a regular file: a pipe would never end, and
 * what grows while it is read must not take the memory. A short file is read without the thread pool: it
 * is in memory, and each trip through the pool costs more than its reading.
 */
import { closeSync, constants, fstatSync, openSync, read, readSync } from 'node:fs';
import { promisify } from 'node:util';
import { PlexiError } from '../config/errors.js';
import { isErrno } from './durable-files.js';

/** A piece up to this length is read at once; it is in memory, or one read of the disk away. */
const SHORT_BYTES = 64 * 1024;

/** Opens for reading without ever blocking on what is no regular file. */
export const readFlags = constants.O_RDONLY | constants.O_NONBLOCK;

const readLong = promisify(read);

/**
 * The content of a regular file; undefined when it does not exist. That what should be a folder above it
 * is none, is an error (ENOTDIR): for state that is damage, and not absence.
 * Errors: LIMIT_EXCEEDED when it has more than `maxBytes`, or is no regular file; else the system's.
 */
export async function readBounded(path: string, maxBytes: number): Promise<Buffer | undefined> {
  const file = openToRead(path);
  if (file === undefined) return undefined;
  try {
    const size = regularSize(file, path);
    if (size > maxBytes) throw tooLong(path, size, maxBytes);
    const pieces: Buffer[] = [];
    let length = 0;
    // One byte more than there should be, so that the end is met at once, or the growth is noticed.
    for (let wanted = size + 1; length <= maxBytes; wanted = Math.min(length, maxBytes - length) + 1) {
      const piece = await readPiece(file, wanted);
      if (piece.length === 0) return Buffer.concat(pieces, length);
      pieces.push(piece);
      length += piece.length;
    }
    throw tooLong(path, length, maxBytes);
  } finally {
    closeSync(file);
  }
}

function openToRead(path: string): number | undefined {
  try {
    return openSync(path, readFlags);
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return undefined;
    throw error;
  }
}

/** The same for what may lie in a folder of others' making: below something that is no folder there is nothing. */
export async function readIfThere(path: string, maxBytes: number): Promise<Buffer | undefined> {
  try {
    return await readBounded(path, maxBytes);
  } catch (thrown) {
    if (isErrno(thrown, 'ENOTDIR')) return undefined;
    throw thrown;
  }
}

/** The next bytes of a file, at most `wanted`; none at its end. */
async function readPiece(file: number, wanted: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(wanted);
  const bytesRead =
    wanted <= SHORT_BYTES
      ? readSync(file, buffer, 0, wanted, null)
      : (await readLong(file, buffer, 0, wanted, null)).bytesRead;
  return buffer.subarray(0, bytesRead);
}

function regularSize(file: number, path: string): number {
  const facts = fstatSync(file);
  if (facts.isFile()) return facts.size;
  throw new PlexiError('LIMIT_EXCEEDED', `${path} is not a regular file; move it away and try again`);
}

function tooLong(path: string, sizeBytes: number, maxBytes: number): PlexiError {
  return new PlexiError('LIMIT_EXCEEDED', `${path} has more than ${maxBytes} bytes; check what wrote it`, {
    details: { path, sizeBytes, maxBytes },
  });
}
