/**
 * Hostile archives for tests, written byte by byte and not with the code under test: each is what an
 * attacker, a broken program or another tar dialect could put where a release is expected. The honest
 * archive has two files, `bin/serve` and `data/seed.json`.
 */
import { gzipSync } from 'node:zlib';

/** What a raw header says; everything that is not given is as an honest archive has it. */
export interface RawHeader {
  name: string | Buffer;
  type?: string;
  mode?: string;
  size?: number | Buffer;
  linkName?: string;
  prefix?: string;
  magic?: string;
  device?: string;
  rest?: string;
  breakChecksum?: boolean;
}

/** The files of the honest archive. */
export const honestFiles = {
  'bin/serve': Buffer.from('#!/usr/bin/env node\nconsole.log("ready")\n'),
  'data/seed.json': Buffer.from('{"messages":[]}\n'),
} as const;

const serve = honestFiles['bin/serve'];
const seed = honestFiles['data/seed.json'];

/** One 512-byte header block. */
export function rawHeader(header: RawHeader): Buffer {
  const block = Buffer.alloc(512);
  const put = (value: string | Buffer, offset: number): void => {
    Buffer.from(value).copy(block, offset);
  };
  put(header.name, 0);
  put(header.mode ?? '0000644\0', 100);
  put('0000000\0', 108);
  put('0000000\0', 116);
  const size = header.size ?? 0;
  put(typeof size === 'number' ? `${size.toString(8).padStart(11, '0')}\0` : size, 124);
  put('00000000000\0', 136);
  put(header.type ?? '0', 156);
  put(header.linkName ?? '', 157);
  put(header.magic ?? 'ustar\x0000', 257);
  put(header.device ?? '0000000\0', 329);
  put('0000000\0', 337);
  put(header.prefix ?? '', 345);
  put(header.rest ?? '', 500);
  block.fill(' ', 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0) + (header.breakChecksum === true ? 1 : 0);
  put(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return block;
}

/** A header with its contents, padded. */
export function entry(header: RawHeader, contents: Buffer = Buffer.alloc(0)): Buffer {
  const padding = Buffer.alloc((512 - (contents.length % 512)) % 512);
  return Buffer.concat([rawHeader({ size: contents.length, ...header }), contents, padding]);
}

/** A pax header of one or more records, given as the body. */
export function pax(body: string, type = 'x'): Buffer {
  return entry({ name: 'pax', type }, Buffer.from(body));
}

/** A gzipped archive of those parts with the two zero blocks at its end. */
export function archive(...parts: Buffer[]): Buffer {
  return gzipSync(Buffer.concat([...parts, Buffer.alloc(1024)]));
}

const serveEntry = entry({ name: 'bin/serve', mode: '0000755\0' }, serve);
const seedEntry = entry({ name: 'data/seed.json' }, seed);

/** The archive as it should be. */
export const honestArchive = archive(serveEntry, seedEntry);

function withEntry(extra: Buffer): Buffer {
  return archive(serveEntry, extra, seedEntry);
}

function named(name: string | Buffer): Buffer {
  return withEntry(entry({ name }, seed));
}

function insteadOfSeed(...replacement: Buffer[]): Buffer {
  return archive(serveEntry, ...replacement);
}

const zeros = Buffer.alloc(3 * 1024 * 1024);

/** Each hostile archive with a part of the sentence that must refuse it. */
export const hostileArchives: Readonly<Record<string, readonly [bytes: Buffer, why: RegExp]>> = {
  // Names.
  'a name that climbs out': [named('../outside'), /"\.\.\/outside" has the segment "\.\."/],
  'a name that climbs out in the middle': [named('bin/../../outside'), /segment "\.\."/],
  'a name that ends by climbing': [named('data/..'), /segment "\.\."/],
  'an absolute name': [named('/etc/cron.d/job'), /is absolute/],
  'an absolute name of two slashes': [named('//server/share'), /is absolute/],
  'an absolute prefix': [withEntry(entry({ name: 'passwd', prefix: '/etc' }, seed)), /is absolute/],
  'a name with a backslash': [named('..\\outside'), /holds a backslash/],
  'a drive letter': [named('C:/windows'), /drive letter/],
  'a name with an empty segment': [named('bin//serve'), /empty segment/],
  'a name that ends in a slash, as a file': [named('data/seed.json/'), /empty segment/],
  'a name with a dot segment': [named('./bin/serve'), /segment "\."/],
  'an empty name': [named(''), /is empty/],
  'a name with a newline': [named('bin/serve\nok'), /control character/],
  'a name with an escape sequence': [named('bin/\u001b[2Jserve'), /control character/],
  'a name that goes on after a NUL': [named('bin/serve\0.txt'), /after the NUL/],
  'a name that is not UTF-8': [named(Buffer.from([0x62, 0xff, 0xfe])), /not UTF-8/],
  'a name in other letters': [named('BIN/serve'), /differs from "bin\/serve" in case only/],
  'a folder in other letters': [
    withEntry(entry({ name: 'Data/', type: '5' })),
    /differs from "data" in case only/,
  ],
  'a compatibility letter': [named('bin/\u017ferve'), /differs from "bin\/serve" in case only/],
  'a name that is not in the manifest': [named('bin/extra'), /"bin\/extra" is not in the manifest/],
  'the mark of a complete release': [named('.complete'), /marks a complete release/],
  'the same file twice': [withEntry(serveEntry), /"bin\/serve" stands there twice/],
  'the same folder twice': [
    archive(entry({ name: 'bin/', type: '5' }), entry({ name: 'bin', type: '5' }), serveEntry, seedEntry),
    /stands there twice/,
  ],
  'a file where a folder belongs': [named('bin'), /where the manifest has a folder/],
  'a folder where a file belongs': [
    insteadOfSeed(entry({ name: 'data/seed.json/', type: '5' })),
    /where the manifest has a file/,
  ],
  'a folder that nothing needs': [withEntry(entry({ name: 'empty/', type: '5' })), /not in the manifest/],
  // Kinds.
  'a symbolic link': [
    withEntry(entry({ name: 'bin/link', type: '2', linkName: '/etc/passwd' })),
    /symbolic link/,
  ],
  "a symbolic link in a folder's place": [
    archive(entry({ name: 'data', type: '2', linkName: '/tmp' }), serveEntry, seedEntry),
    /symbolic link/,
  ],
  'a hard link': [withEntry(entry({ name: 'bin/link', type: '1', linkName: '/etc/shadow' })), /hard link/],
  'a file with a link target': [
    withEntry(entry({ name: 'bin/serve', linkName: 'x' }, serve)),
    /target of a link/,
  ],
  'a character device': [withEntry(entry({ name: 'bin/null', type: '3' })), /character device/],
  'a block device': [withEntry(entry({ name: 'bin/disk', type: '4' })), /block device/],
  'a named pipe': [withEntry(entry({ name: 'bin/pipe', type: '6' })), /named pipe/],
  'a contiguous file': [withEntry(entry({ name: 'bin/serve', type: '7' }, serve)), /contiguous file/],
  'a sparse file': [withEntry(entry({ name: 'bin/serve', type: 'S' }, serve)), /sparse file/],
  'an unknown type': [withEntry(entry({ name: 'bin/serve', type: 'Z' }, serve)), /unknown type/],
  'a file with a device number': [
    withEntry(entry({ name: 'bin/serve', device: '0000010\0' }, serve)),
    /device number/,
  ],
  'a folder with contents': [
    archive(entry({ name: 'bin/', type: '5' }, serve), serveEntry, seedEntry),
    /with contents/,
  ],
  'a GNU long name': [
    withEntry(entry({ name: '././@LongLink', type: 'L' }, Buffer.from('bin/x\0'))),
    /GNU long name/,
  ],
  // Modes.
  'a setuid file': [insteadOfSeed(entry({ name: 'data/seed.json', mode: '0004755\0' }, seed)), /setuid/],
  'a setgid file': [insteadOfSeed(entry({ name: 'data/seed.json', mode: '0002755\0' }, seed)), /setgid/],
  'a sticky folder': [
    archive(entry({ name: 'bin/', type: '5', mode: '0001777\0' }), serveEntry, seedEntry),
    /sticky/,
  ],
  'a mode in decimal': [
    insteadOfSeed(entry({ name: 'data/seed.json', mode: '0000688\0' }, seed)),
    /no octal number/,
  ],
  // Extended headers.
  'a pax header that climbs out': [
    withEntry(Buffer.concat([pax('19 path=../outside\n'), entry({ name: 'data/seed.json' }, seed)])),
    /segment "\.\."/,
  ],
  'a pax header with a NUL': [withEntry(pax('20 path=bin/serve\0.c\n')), /other than a single path/],
  'a pax header that changes a size': [withEntry(pax('13 size=9999\n')), /other than a single path/],
  'a pax header with a link': [withEntry(pax('18 linkpath=/tmp/x\n')), /other than a single path/],
  'a pax header with two paths': [
    withEntry(pax('14 path=bin/a\n14 path=bin/b\n')),
    /other than a single path/,
  ],
  'a pax header of a wrong length': [withEntry(pax('99 path=bin/serve\n')), /wrong length/],
  'a pax header that is too big': [withEntry(pax(`9999 path=${'a'.repeat(9_000)}\n`)), /too big/],
  'two pax headers': [
    withEntry(Buffer.concat([pax('18 path=bin/serve\n'), pax('18 path=bin/serve\n')])),
    /two pax/,
  ],
  'a pax header without an entry': [archive(serveEntry, seedEntry, pax('18 path=bin/serve\n')), /no entry/],
  'a global header': [archive(pax('18 path=bin/serve\n', 'g'), serveEntry, seedEntry), /global header/],
  // Sizes and contents.
  'a file that is longer than listed': [
    insteadOfSeed(entry({ name: 'data/seed.json' }, Buffer.concat([seed, seed]))),
    /has 32 bytes instead of 16/,
  ],
  'a file that claims 8 GiB': [
    insteadOfSeed(entry({ name: 'data/seed.json', size: 0o77777777777 }, seed)),
    /instead of 16/,
  ],
  'a size in base 256': [
    insteadOfSeed(
      entry({ name: 'data/seed.json', size: Buffer.from('800000000000000000000010', 'hex') }, seed),
    ),
    /size that is no octal number/,
  ],
  'a size with a sign': [
    insteadOfSeed(entry({ name: 'data/seed.json', size: Buffer.from('-0000000020\0') }, seed)),
    /size that is no octal number/,
  ],
  'other contents': [
    insteadOfSeed(entry({ name: 'data/seed.json' }, Buffer.from('{"messages":[1]\n'))),
    /other contents than the manifest/,
  ],
  'bytes in the padding': [
    insteadOfSeed(rawHeader({ name: 'data/seed.json', size: seed.length }), seed, Buffer.alloc(496, 'x')),
    /bytes that belong to nothing/,
  ],
  'a missing file': [archive(serveEntry), /"data\/seed\.json" is in the manifest and not in the archive/],
  'data after the end': [
    archive(serveEntry, seedEntry, Buffer.alloc(1024), serveEntry),
    /after the end of the archive/,
  ],
  // The format itself.
  'a wrong checksum': [
    archive(serveEntry, entry({ name: 'data/seed.json', breakChecksum: true }, seed)),
    /checksum/,
  ],
  'the GNU format': [
    archive(entry({ name: 'bin/serve', magic: 'ustar  \0' }, serve), seedEntry),
    /not in the POSIX ustar/,
  ],
  'bytes after the header': [
    archive(entry({ name: 'bin/serve', rest: 'x' }, serve), seedEntry),
    /after the end of its header/,
  ],
  'an end in the middle of a file': [
    gzipSync(Buffer.concat([serveEntry, seedEntry.subarray(0, 520)])),
    /breaks off/,
  ],
  'no end at all': [gzipSync(Buffer.concat([serveEntry, seedEntry])), /breaks off/],
  'an empty archive': [gzipSync(Buffer.alloc(0)), /breaks off/],
  'no gzip': [Buffer.concat([serveEntry, seedEntry, Buffer.alloc(1024)]), /no intact gzip stream/],
  'half a gzip stream': [honestArchive.subarray(0, honestArchive.length - 30), /no intact gzip stream/],
  'gzip in gzip': [gzipSync(honestArchive), /checksum|UTF-8|NUL|breaks off/],
  'a bomb of zeros after the end': [
    archive(serveEntry, seedEntry, zeros),
    /bigger than its manifest|times its size/,
  ],
  'a bomb of zeros in the middle': [
    insteadOfSeed(entry({ name: 'data/seed.json' }, zeros)),
    /instead of 16|bigger than its manifest|times its size/,
  ],
};
