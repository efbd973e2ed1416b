/**
 * Reads the small files that stand beside a release: index, manifest, mark. Invariant: nothing is read
 * beyond its bound, and nothing is waited for: a pipe or a device in a file's place is an error.
 */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { PlexiError } from '../config/errors.js';
import { isErrno } from './durable-files.js';

/** Opens for reading without ever blocking on what is no regular file. */
export const readFlags = constants.O_RDONLY | constants.O_NONBLOCK;

/**
 * The bytes of a file; undefined when there is none. LIMIT_EXCEEDED when it is too big; else throws
 * what the file system throws.
 */
export async function readBounded(file: string, bytesMax: number): Promise<Buffer | undefined> {
  try {
    const handle = await open(file, readFlags);
    try {
      return await readAll(handle, file, bytesMax);
    } finally {
      await handle.close();
    }
  } catch (thrown) {
    if (isErrno(thrown, 'ENOENT') || isErrno(thrown, 'ENOTDIR')) return undefined;
    throw thrown;
  }
}

async function readAll(
  handle: Awaited<ReturnType<typeof open>>,
  file: string,
  bytesMax: number,
): Promise<Buffer> {
  const { size } = await handle.stat();
  const buffer = Buffer.alloc(Math.min(size, bytesMax) + 1);
  let length = 0;
  for (let got = -1; got !== 0 && length < buffer.length; length += got) {
    got = (await handle.read(buffer, length, buffer.length - length, null)).bytesRead;
  }
  if (length > bytesMax) throw new PlexiError('LIMIT_EXCEEDED', `${file} has more than ${bytesMax} bytes.`);
  return buffer.subarray(0, length);
}
