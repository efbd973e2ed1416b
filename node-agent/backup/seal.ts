/**
 * The way of a backup's bytes to the disk and back: gzip, then age. gzip in members of 1 MiB that are
 * compressed side by side (any gunzip reads them as one), because compression is what the backup's
 * time is spent on while the service is down. age's header is made and opened by the age library;
 * the payload, ChaCha20-Poly1305 in chunks of 64 KiB, by node:crypto, which is about ten times as
 * fast and gives the same format: the age program opens it.
 */
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { pipeline, Readable } from 'node:stream';
import { promisify } from 'node:util';
import { constants, createGunzip, gzip } from 'node:zlib';
import { Decrypter, Encrypter } from 'age-encryption';
import { ByteQueue } from './byte-queue.js';

const MEMBER_BYTES = 1024 * 1024;
/** How much of a member is tried, to see whether compressing it is worth the time. */
const SAMPLE_BYTES = 32 * 1024;
/** Members in work at once; the pool of threads also has files to read. */
const MEMBERS_AT_ONCE = Math.max(2, Math.min(4, availableParallelism()));
const CHUNK_BYTES = 64 * 1024;
const TAG_BYTES = 16;
const NONCE_BYTES = 16;
/** The header that this program writes has some 200 bytes; more than this is none of ours. */
const HEADER_BYTES_MAX = 16 * 1024;

const gzipAll = promisify(gzip);

/** Compresses; the result is one valid gzip file. */
export async function* compress(source: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  const queue = new ByteQueue(source);
  const members: Promise<Buffer>[] = [];
  try {
    for (;;) {
      const plain = await queue.take(MEMBER_BYTES);
      if (plain.length > 0) members.push(startMember(plain));
      const isLast = plain.length < MEMBER_BYTES;
      while (members.length >= (isLast ? 1 : MEMBERS_AT_ONCE)) {
        const member = await members.shift();
        if (member !== undefined) yield member;
      }
      if (isLast) return;
    }
  } finally {
    // Left early: what is still in work must not fail unseen.
    await Promise.allSettled(members);
    await queue.close();
  }
}

/** Undoes `compress`. Errors: the library's, when the bytes are no gzip or end too early. */
export async function* decompress(source: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  const gunzip = createGunzip({ chunkSize: 256 * 1024 });
  // An error of either side destroys the other with it, and surfaces in the loop below.
  pipeline(Readable.from(source, { objectMode: false }), gunzip, () => undefined);
  for await (const piece of gunzip) yield piece;
}

/** Encrypts to one age recipient (`age1…`). */
export async function* encrypt(source: AsyncIterable<Uint8Array>, recipient: string): AsyncGenerator<Buffer> {
  const { header, fileKey } = await newHeader(recipient);
  const nonce = randomBytes(NONCE_BYTES);
  yield Buffer.concat([header, nonce]);
  const key = payloadKey(fileKey, nonce);
  const queue = new ByteQueue(source);
  try {
    let plain = await queue.take(CHUNK_BYTES);
    for (let counter = 0; ; counter++) {
      // Whether a chunk is the last one goes into its nonce, so one has to look ahead.
      const next = plain.length < CHUNK_BYTES ? Buffer.alloc(0) : await queue.take(CHUNK_BYTES);
      yield sealChunk(key, counter, next.length === 0, plain);
      if (next.length === 0) return;
      plain = next;
    }
  } finally {
    await queue.close();
  }
}

/** Undoes `encrypt`. Errors when the key is another one, or any byte was changed, added or cut off. */
export async function* decrypt(source: AsyncIterable<Uint8Array>, identity: string): AsyncGenerator<Buffer> {
  const queue = new ByteQueue(source);
  try {
    const decrypter = new Decrypter();
    decrypter.addIdentity(identity);
    const fileKey = await decrypter.decryptHeader(await takeHeader(queue));
    const key = payloadKey(fileKey, await queue.take(NONCE_BYTES));
    let sealed = await queue.take(CHUNK_BYTES + TAG_BYTES);
    for (let counter = 0; ; counter++) {
      const next = await queue.take(CHUNK_BYTES + TAG_BYTES);
      const plain = openChunk(key, counter, next.length === 0, sealed);
      if (plain.length === 0 && counter > 0) throw new Error('the encrypted file ends with an empty chunk');
      yield plain;
      if (next.length === 0) return;
      sealed = next;
    }
  } finally {
    await queue.close();
  }
}

function startMember(plain: Buffer): Promise<Buffer> {
  const member = compressMember(plain);
  // The loop awaits it later; until then a failure must not count as unhandled.
  member.catch(() => undefined);
  return member;
}

/** Pictures and archives do not get shorter, only slow: then the member is stored as it is. */
async function compressMember(plain: Buffer): Promise<Buffer> {
  const sample = plain.subarray(0, SAMPLE_BYTES);
  const shortened = await gzipAll(sample, { level: constants.Z_BEST_SPEED });
  if (sample.length === plain.length) return shortened;
  const isWorthIt = shortened.length < sample.length * 0.95;
  return gzipAll(plain, { level: isWorthIt ? constants.Z_BEST_SPEED : constants.Z_NO_COMPRESSION });
}

/**
 * A header by the library, which gives its file key to every recipient: one that writes nothing into
 * the header learns it. The library's own (empty) payload is dropped.
 */
async function newHeader(recipient: string): Promise<{ header: Buffer; fileKey: Uint8Array }> {
  const seen: Uint8Array[] = [];
  const encrypter = new Encrypter();
  encrypter.addRecipient(recipient);
  encrypter.addRecipient({
    wrapFileKey: (fileKey) => {
      seen.push(Uint8Array.from(fileKey));
      return [];
    },
  });
  const empty = await encrypter.encrypt(new Uint8Array(0));
  const [fileKey] = seen;
  if (fileKey === undefined) throw new Error('the age library gave no file key');
  return { header: Buffer.from(empty.subarray(0, empty.length - NONCE_BYTES - TAG_BYTES)), fileKey };
}

/** The header's lines up to and with the one that begins with `---`. */
async function takeHeader(queue: ByteQueue): Promise<Buffer> {
  const lines: Buffer[] = [];
  let sizeBytes = 0;
  for (;;) {
    const line = await takeLine(queue, HEADER_BYTES_MAX - sizeBytes);
    sizeBytes += line.length;
    lines.push(line);
    if (line.subarray(0, 4).toString('latin1') === '--- ') return Buffer.concat(lines);
  }
}

async function takeLine(queue: ByteQueue, maxBytes: number): Promise<Buffer> {
  const bytes: number[] = [];
  while (bytes.length < maxBytes) {
    const [byte] = await queue.take(1);
    if (byte === undefined) break;
    bytes.push(byte);
    if (byte === 0x0a) return Buffer.from(bytes);
  }
  throw new Error('it does not begin with an age header');
}

function payloadKey(fileKey: Uint8Array, nonce: Buffer): Buffer {
  return Buffer.from(hkdfSync('sha256', fileKey, nonce, 'payload', 32));
}

/** 11 bytes of the chunk's number, then one that marks the last chunk. */
function chunkNonce(counter: number, isLast: boolean): Buffer {
  const nonce = Buffer.alloc(12);
  nonce.writeUIntBE(counter, 5, 6);
  nonce[11] = isLast ? 1 : 0;
  return nonce;
}

function sealChunk(key: Buffer, counter: number, isLast: boolean, plain: Buffer): Buffer {
  const nonce = chunkNonce(counter, isLast);
  const cipher = createCipheriv('chacha20-poly1305', key, nonce, { authTagLength: TAG_BYTES });
  return Buffer.concat([cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
}

function openChunk(key: Buffer, counter: number, isLast: boolean, sealed: Buffer): Buffer {
  if (sealed.length < TAG_BYTES) throw new Error('the encrypted file was cut off');
  const nonce = chunkNonce(counter, isLast);
  const decipher = createDecipheriv('chacha20-poly1305', key, nonce, { authTagLength: TAG_BYTES });
  decipher.setAuthTag(sealed.subarray(-TAG_BYTES));
  return Buffer.concat([decipher.update(sealed.subarray(0, -TAG_BYTES)), decipher.final()]);
}
