/**
 * Archives in the dialects of other programs: what GNU tar, star, Solaris and gzip itself may put where
 * a release is expected. They complete the corpus of release/hostile-archives.test.part.ts.
 */
import { gzipSync } from 'node:zlib';
import { archive, entry, honestArchive, honestFiles, pax } from '../../release/hostile-archives.test.part.js';

const serve = honestFiles['bin/serve'];
const seed = honestFiles['data/seed.json'];
const serveEntry = entry({ name: 'bin/serve', mode: '0000755\0' }, serve);
const seedEntry = entry({ name: 'data/seed.json' }, seed);

/** An entry of another type between the two honest ones. */
function ofType(type: string, contents: Buffer = Buffer.from('bin/x\0')): Buffer {
  return archive(serveEntry, entry({ name: 'odd', type }, contents), seedEntry);
}

/** The honest archive with bytes of its gzip stream replaced, from the start or from the end. */
function gzipWith(at: number, ...bytes: number[]): Buffer {
  const copy = Buffer.from(honestArchive);
  copy.set(bytes, at < 0 ? copy.length + at : at);
  return copy;
}

/** A record of a pax header, with its own length in front. */
function record(text: string): string {
  let length = text.length + 2;
  while (`${length} ${text}\n`.length !== length) length += 1;
  return `${length} ${text}\n`;
}

const before = (body: string): Buffer => archive(pax(body), serveEntry, seedEntry);

/** Each with a part of the sentence that must refuse it. */
export const foreignArchives: Readonly<Record<string, readonly [bytes: Buffer, why: RegExp]>> = {
  'a GNU long link': [ofType('K', Buffer.from('/etc/passwd\0')), /GNU long link/],
  'a GNU volume label': [ofType('V', Buffer.alloc(0)), /unknown type/],
  'a GNU part of several volumes': [ofType('M'), /unknown type/],
  'a GNU list of a folder': [ofType('D'), /unknown type/],
  'a GNU file of several names': [ofType('N'), /unknown type/],
  'a Solaris extended header': [ofType('X'), /unknown type/],
  'a Solaris access list': [ofType('A'), /unknown type/],
  'a star inode': [ofType('I'), /unknown type/],
  'the format of before POSIX': [
    archive(entry({ name: 'bin/serve', magic: '\0\0\0\0\0\0\0\0' }, serve), seedEntry),
    /not in the POSIX ustar/,
  ],
  'a hard link with contents': [
    archive(serveEntry, entry({ name: 'data/seed.json', type: '1', linkName: 'bin/serve' }, seed)),
    /hard link/,
  ],
  'a symbolic link, then a file through it': [
    archive(
      entry({ name: 'data', type: '2', linkName: '..' }),
      serveEntry,
      entry({ name: 'data/seed.json' }, seed),
    ),
    /symbolic link/,
  ],
  'a sparse file in pax': [before(record('GNU.sparse.major=1')), /other than a single path/],
  'a sparse map in pax': [before(record('GNU.sparse.map=0,1,99999999999,1')), /other than a single path/],
  'another charset in pax': [before(record('hdrcharset=BINARY')), /other than a single path/],
  'an access list in pax': [before(record('SCHILY.acl.access=user::rwx')), /other than a single path/],
  'an extended attribute in pax': [before(record('SCHILY.xattr.user.x=1')), /other than a single path/],
  'capabilities in pax': [
    before(record('LIBARCHIVE.xattr.security.capability=AA')),
    /other than a single path/,
  ],
  'an owner in pax': [before(record('uid=0')), /other than a single path/],
  'an absolute path in pax': [before(record('path=/etc/cron.d/job')), /is absolute/],
  'a link in the path of pax': [before(record('path=bin/serve linkpath=x')), /not in the manifest/],
  'a pax header of length zero': [archive(pax(''), serveEntry, seedEntry), /other than a single path/],
  'a decomposed name': [
    archive(serveEntry, entry({ name: 'data/se\u0301ed.json' }, seed)),
    /not in the manifest|differs/,
  ],
  'a name of dots and spaces': [
    archive(entry({ name: '.. /outside' }, seed)),
    /not in the manifest|space|ends/,
  ],
  'more entries than its manifest': [
    archive(serveEntry, ...Array.from({ length: 9 }, (_, at) => entry({ name: `bin/${at}` })), seedEntry),
    /not in the manifest/,
  ],
  'far more entries than its manifest': [
    archive(serveEntry, ...Array.from({ length: 9_000 }, (_, at) => entry({ name: `bin/${at}` })), seedEntry),
    /bigger than its manifest|times its size/,
  ],
  'two gzip members': [
    Buffer.concat([
      gzipSync(serveEntry),
      gzipSync(Buffer.concat([seedEntry, seedEntry, Buffer.alloc(1024)])),
    ]),
    /stands there twice/,
  ],
  'a second archive behind the first': [
    Buffer.concat([honestArchive, honestArchive]),
    /after the end of the archive/,
  ],
  'a gzip stream with a wrong checksum': [gzipWith(-8, 1, 2, 3, 4), /no intact gzip stream/],
  'a gzip stream with a wrong length': [gzipWith(-4, 1, 2, 3, 4), /no intact gzip stream/],
  'a gzip stream of another method': [gzipWith(2, 9), /no intact gzip stream/],
  'a gzip stream with a header of its own': [gzipWith(3, 0x02), /no intact gzip stream|breaks off/],
};
