/**
 * tar, as a stream of bytes: the form of a backup that any tar program reads. Headers are encoded and
 * decoded by the tar library; the stream around them is here, because the library's own packer and
 * unpacker read and write the file system themselves, lose names with a line break, and take three
 * times as long (performance.md). Only files, folders and symbolic links exist here.
 */
import { Header, Pax } from 'tar';
import type { BackupEntry } from './backup-manifest.js';
import { ByteQueue } from './byte-queue.js';
import type { ListedEntry } from './walk.js';

const BLOCK_BYTES = 512;
/** A name and a link's target of 4 KiB each, with room to spare. */
const PAX_BYTES_MAX = 64 * 1024;

const tarTypes = { file: 'File', directory: 'Directory', link: 'SymbolicLink' } as const;

/** An entry as it was found in a tar. The time is left out: tar keeps whole seconds only. */
export interface TarEntry extends Omit<BackupEntry, 'sha256' | 'mtimeMs'> {
  /** A file's content, to be read before the next entry is asked for; what is not read is skipped. */
  readonly body: AsyncIterable<Buffer>;
}

/** Packs entries, in their order. `contentOf` must give exactly `sizeBytes` bytes of a file. */
export async function* pack(
  entries: Iterable<ListedEntry>,
  contentOf: (entry: ListedEntry) => AsyncIterable<Buffer>,
): AsyncGenerator<Buffer> {
  for (const entry of entries) {
    yield encodeHeader(entry);
    if (entry.type !== 'file') continue;
    yield* contentOf(entry);
    const padding = paddingOf(entry.sizeBytes);
    if (padding > 0) yield Buffer.alloc(padding);
  }
  yield Buffer.alloc(2 * BLOCK_BYTES);
}

/** Reads entries, one after the other. Errors: a plain Error on anything that `pack` does not write. */
export async function* unpack(source: AsyncIterable<Uint8Array>): AsyncGenerator<TarEntry> {
  const queue = new ByteQueue(source);
  try {
    for (;;) {
      const entry = await nextHeader(queue);
      if (entry === undefined) break;
      const body = queue.stream(entry.sizeBytes);
      yield { ...entry, body };
      for await (const _skipped of body);
      await queue.take(paddingOf(entry.sizeBytes));
    }
    await nothingFollows(queue);
  } finally {
    await queue.close();
  }
}

function encodeHeader(entry: ListedEntry): Buffer {
  const mtime = new Date(Math.floor(entry.mtimeMs / 1_000) * 1_000);
  const fields = {
    path: entry.type === 'directory' ? `${entry.path}/` : entry.path,
    mode: Number.parseInt(entry.mode, 8),
    uid: entry.uid,
    gid: entry.gid,
    size: entry.sizeBytes,
    mtime,
    type: tarTypes[entry.type],
    ...(entry.link === null ? {} : { linkpath: entry.link }),
  };
  const block = Buffer.alloc(BLOCK_BYTES);
  if (!new Header(fields).encode(block)) return block;
  // What does not fit into the header's fields stands in a record before it.
  const { mode: _mode, type: _type, ...extended } = fields;
  return Buffer.concat([new Pax(extended).encode(), block]);
}

async function nextHeader(queue: ByteQueue): Promise<Omit<TarEntry, 'body'> | undefined> {
  let extended = new Map<string, string>();
  for (;;) {
    const block = await queue.take(BLOCK_BYTES);
    if (block.length < BLOCK_BYTES) throw new Error('the archive was cut off');
    const header = new Header(block, 0);
    if (header.nullBlock) return undefined;
    if (!header.cksumValid) throw new Error('a header in the archive has a wrong checksum');
    if (header.type !== 'ExtendedHeader') return entryOf(header, extended);
    extended = await readExtended(queue, header.size ?? 0);
  }
}

function entryOf(header: Header, extended: ReadonlyMap<string, string>): Omit<TarEntry, 'body'> {
  const type = typeOf(header.type);
  const path = extended.get('path') ?? header.path ?? '';
  return {
    path: type === 'directory' ? path.replace(/\/$/, '') : path,
    type,
    mode: (header.mode ?? 0).toString(8).padStart(4, '0'),
    uid: Number(extended.get('uid') ?? header.uid),
    gid: Number(extended.get('gid') ?? header.gid),
    sizeBytes: type === 'file' ? Number(extended.get('size') ?? header.size) : 0,
    link: type === 'link' ? (extended.get('linkpath') ?? header.linkpath ?? '') : null,
  };
}

function typeOf(name: string): BackupEntry['type'] {
  for (const type of ['file', 'directory', 'link'] as const) if (tarTypes[type] === name) return type;
  throw new Error(`the archive holds an entry of the kind ${name}`);
}

/** Reads `<length> <key>=<value>\n` records; the length counts bytes, so a value may hold anything. */
async function readExtended(queue: ByteQueue, sizeBytes: number): Promise<Map<string, string>> {
  if (sizeBytes > PAX_BYTES_MAX) throw new Error('the archive holds an extended header that is too long');
  const bytes = await queue.take(sizeBytes);
  await queue.take(paddingOf(sizeBytes));
  const fields = new Map<string, string>();
  for (let at = 0; at < bytes.length; ) {
    const space = bytes.indexOf(0x20, at);
    const length = Number(bytes.toString('latin1', at, space));
    const equals = bytes.indexOf(0x3d, space);
    const end = at + length - 1;
    if (space < 0 || !Number.isInteger(length) || equals < 0 || equals > end || bytes[end] !== 0x0a) {
      throw new Error('the archive holds an extended header that cannot be understood');
    }
    fields.set(bytes.toString('utf8', space + 1, equals), bytes.toString('utf8', equals + 1, end));
    at = end + 1;
  }
  return fields;
}

async function nothingFollows(queue: ByteQueue): Promise<void> {
  for await (const piece of queue.stream(Number.POSITIVE_INFINITY)) {
    if (piece.some((byte) => byte !== 0)) throw new Error('something follows the end of the archive');
  }
}

function paddingOf(sizeBytes: number): number {
  return (BLOCK_BYTES - (sizeBytes % BLOCK_BYTES)) % BLOCK_BYTES;
}
