/**
 * The headers of a release's archive: the POSIX ustar format, and a pax header with nothing but a
 * `path` where a name does not fit. Invariant: `decodeHeader` accepts what `encodeHeader` writes and
 * refuses every shape that could mean one thing to us and another to some other program: links,
 * devices, sizes in base 256, bytes after the end of a name, setuid bits, unknown types. General tar
 * readers are lenient there, which is how names are smuggled past a check (node-tar's own advisories).
 */
import { PlexiError } from '../config/errors.js';
import { limits } from '../config/limits.js';
import { quoted } from './quoted.js';

/** Every header, and the unit in which contents are padded. */
export const blockBytes = 512;

/** One header, as far as a release uses it. */
export interface ArchiveHeader {
  path: string;
  type: 'file' | 'folder' | 'pax';
  mode: number;
  sizeBytes: number;
}

/** Where the fields of a ustar header stand: offset and length in bytes. */
const fields = {
  name: [0, 100],
  mode: [100, 8],
  uid: [108, 8],
  gid: [116, 8],
  size: [124, 12],
  mtime: [136, 12],
  checksum: [148, 8],
  type: [156, 1],
  linkName: [157, 100],
  magic: [257, 8],
  deviceMajor: [329, 8],
  deviceMinor: [337, 8],
  prefix: [345, 155],
  rest: [500, 12],
} as const;

const magic = 'ustar\x0000';
const types: Readonly<Record<string, ArchiveHeader['type']>> = {
  '0': 'file',
  '\0': 'file',
  '5': 'folder',
  x: 'pax',
};
const refusedTypes: Readonly<Record<string, string>> = {
  '1': 'a hard link',
  '2': 'a symbolic link',
  '3': 'a character device',
  '4': 'a block device',
  '6': 'a named pipe',
  '7': 'a contiguous file',
  g: 'a global header',
  L: 'a GNU long name',
  K: 'a GNU long link',
  S: 'a sparse file',
};

/** A PlexiError ARCHIVE_REFUSED that names the entry. */
export function archiveRefused(entry: string, why: string): PlexiError {
  return new PlexiError(
    'ARCHIVE_REFUSED',
    `The archive of the release is refused: its entry ${quoted(entry)} ${why}. Nothing was installed; ` +
      'publish the release again.',
    { details: { entry: entry.slice(0, limits.releasePathChars) } },
  );
}

/** The blocks before the contents of one regular file; the same for the same arguments, always. */
export function encodeHeader(path: string, mode: number, sizeBytes: number): Buffer {
  const place = ustarPlace(path);
  if (place !== undefined) return ustarBlock(place, '0', mode, sizeBytes);
  const body = paxRecord('path', path);
  const padded = Buffer.alloc(padded512(body.length));
  body.copy(padded);
  const pax = ustarBlock({ name: Buffer.from('pax/path'), prefix: Buffer.alloc(0) }, 'x', 0o644, body.length);
  const short = ustarBlock({ name: Buffer.from('pax/file'), prefix: Buffer.alloc(0) }, '0', mode, sizeBytes);
  return Buffer.concat([pax, padded, short]);
}

/** A size rounded up to whole blocks. */
export function padded512(sizeBytes: number): number {
  return Math.ceil(sizeBytes / blockBytes) * blockBytes;
}

/** Reads one block that is not all zero; ARCHIVE_REFUSED for anything but a plain entry. */
export function decodeHeader(block: Buffer): ArchiveHeader {
  const name = text(block, 'name');
  const prefix = text(block, 'prefix');
  const path = prefix === '' ? name : `${prefix}/${name}`;
  const refuse = (why: string): never => {
    throw archiveRefused(path, why);
  };
  if (checksum(block) !== octalNumber(block, 'checksum', path)) refuse('has a wrong checksum in its header');
  if (slice(block, 'magic').toString('latin1') !== magic) refuse('is not in the POSIX ustar format');
  const letter = slice(block, 'type').toString('latin1');
  const type = types[letter];
  if (type === undefined)
    return refuse(`is ${refusedTypes[letter] ?? 'of an unknown type'}, not a file or a folder`);
  if (slice(block, 'linkName').some(isNotZero)) refuse('names the target of a link');
  if (slice(block, 'rest').some(isNotZero)) refuse('has bytes after the end of its header');
  const mode = octalNumber(block, 'mode', path);
  if ((mode & ~0o777) !== 0) refuse(`has mode ${mode.toString(8)}, with setuid, setgid or sticky bits`);
  for (const device of ['deviceMajor', 'deviceMinor'] as const) {
    if (octalNumber(block, device, path) !== 0) refuse('has a device number');
  }
  for (const ignored of ['uid', 'gid', 'mtime'] as const) octalNumber(block, ignored, path);
  const sizeBytes = octalNumber(block, 'size', path);
  if (type === 'folder' && sizeBytes !== 0) refuse('is a folder with contents');
  return { path: type === 'folder' ? path.replace(/\/$/, '') : path, type, mode, sizeBytes };
}

/** The path in the body of a pax header; ARCHIVE_REFUSED when it says anything else. */
export function decodePaxPath(body: Buffer): string {
  const [, declared = '', path = ''] =
    /^([0-9]{1,5}) path=([^\0\n]+)\n$/.exec(utf8(body, 'a pax header')) ?? [];
  if (path === '') throw archiveRefused('pax header', 'says something other than a single path');
  if (Number(declared) !== body.length) throw archiveRefused(path, 'has a pax header of a wrong length');
  return path;
}

interface UstarPlace {
  name: Buffer;
  prefix: Buffer;
}

/** How a path fits into name and prefix, split at a slash; undefined when it does not. */
function ustarPlace(path: string): UstarPlace | undefined {
  const bytes = Buffer.from(path);
  if (bytes.length <= fields.name[1]) return { name: bytes, prefix: Buffer.alloc(0) };
  const at = bytes.indexOf('/', bytes.length - fields.name[1] - 1);
  if (at <= 0 || at > fields.prefix[1]) return undefined;
  return { name: bytes.subarray(at + 1), prefix: bytes.subarray(0, at) };
}

function ustarBlock(place: UstarPlace, type: string, mode: number, sizeBytes: number): Buffer {
  const block = Buffer.alloc(blockBytes);
  place.name.copy(block, fields.name[0]);
  place.prefix.copy(block, fields.prefix[0]);
  const put = (
    field: 'mode' | 'uid' | 'gid' | 'size' | 'mtime' | 'deviceMajor' | 'deviceMinor',
    value: number,
  ): void => {
    const [offset, length] = fields[field];
    block.write(value.toString(8).padStart(length - 1, '0'), offset, 'latin1');
  };
  put('mode', mode);
  put('size', sizeBytes);
  for (const zero of ['uid', 'gid', 'mtime', 'deviceMajor', 'deviceMinor'] as const) put(zero, 0);
  block.write(type, fields.type[0], 'latin1');
  block.write(magic, fields.magic[0], 'latin1');
  block.write(`${checksum(block).toString(8).padStart(6, '0')}\0 `, fields.checksum[0], 'latin1');
  return block;
}

/** A pax record begins with its own length in bytes, the digits of that length included. */
function paxRecord(key: string, value: string): Buffer {
  const rest = ` ${key}=${value}\n`;
  const restBytes = Buffer.byteLength(rest);
  let digits = 1;
  while (String(restBytes + digits).length > digits) digits += 1;
  return Buffer.from(`${restBytes + digits}${rest}`);
}

/** The sum of all bytes, those of the checksum's own field counted as spaces. */
function checksum(block: Buffer): number {
  const [offset, length] = fields.checksum;
  const own = block.subarray(offset, offset + length).reduce((sum, byte) => sum + byte, 0);
  return block.reduce((sum, byte) => sum + byte, 0) - own + length * 0x20;
}

function slice(block: Buffer, field: keyof typeof fields): Buffer {
  const [offset, length] = fields[field];
  return block.subarray(offset, offset + length);
}

function text(block: Buffer, field: 'name' | 'prefix'): string {
  const bytes = slice(block, field);
  const end = bytes.indexOf(0);
  if (end === -1) return utf8(bytes, 'a name');
  const name = utf8(bytes.subarray(0, end), 'a name');
  if (bytes.subarray(end).some(isNotZero))
    throw archiveRefused(name, 'has bytes after the NUL at the end of its name');
  return name;
}

/** Octal digits, padded with zeros, ended by a NUL or a space; an empty field is 0. */
function octalNumber(block: Buffer, field: keyof typeof fields, path: string): number {
  const [, digits] = /^ *([0-7]*)[ \0]*$/.exec(slice(block, field).toString('latin1')) ?? [];
  if (digits === undefined) throw archiveRefused(path, `has a ${field} that is no octal number`);
  return digits === '' ? 0 : Number.parseInt(digits, 8);
}

function utf8(bytes: Buffer, what: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (thrown) {
    throw new PlexiError(
      'ARCHIVE_REFUSED',
      `The archive of the release is refused: ${what} in it is not UTF-8.`,
      {
        cause: thrown,
      },
    );
  }
}

function isNotZero(byte: number): boolean {
  return byte !== 0;
}
