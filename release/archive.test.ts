/**
 * Archives: what is packed unpacks to the same tree, other tar programs read it alike, and each of
 * the hostile archives is refused by name without anything outside the folder being touched.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { after, before, describe, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { list } from 'tar';
import { PlexiError } from '../config/errors.js';
import { unpackStrictly } from './archive.js';
import { archive, entry, honestArchive, honestFiles, hostileArchives } from './hostile-archives.test.part.js';
import { treeDigest } from './manifest.js';
import type { ReleaseArtifact, ReleaseFile } from './manifest-shape.js';
import { packFolder } from './pack.js';
import { treeDifferences } from './tree.js';

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

function fileOf(path: string, contents: Buffer, mode = 0o644): ReleaseFile {
  return { path, mode, sizeBytes: contents.length, sha256: sha256(contents) };
}

function artifactOf(files: ReleaseFile[], packed: Buffer): ReleaseArtifact {
  const unpackedBytes = files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const digests = { sha256: sha256(packed), treeDigest: treeDigest(files) };
  return {
    os: 'any',
    arch: 'any',
    file: 'x.tar.gz',
    sizeBytes: packed.length,
    unpackedBytes,
    ...digests,
    files,
  };
}

const honest = [
  fileOf('bin/serve', honestFiles['bin/serve'], 0o755),
  fileOf('data/seed.json', honestFiles['data/seed.json']),
];

const never = new AbortController().signal;
let folder = '';
let count = 0;
const fresh = (): string => join(folder, `unpacked-${count++}`);

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'plexi-archive-'));
});
after(() => rm(folder, { recursive: true, force: true }));

/** Bytes in small chunks, so that headers and names are split across them. */
function* inChunks(bytes: Buffer, size: number): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function refusal(packed: Buffer, artifact = artifactOf(honest, packed)): Promise<PlexiError> {
  const into = fresh();
  try {
    await unpackStrictly(Readable.from(inChunks(packed, 97)), into, artifact, never);
  } catch (thrown) {
    assert.ok(thrown instanceof PlexiError, String(thrown));
    return thrown;
  }
  return assert.fail('the archive was unpacked');
}

describe('unpacking', () => {
  test('an honest archive gives exactly the listed tree', async () => {
    const into = fresh();
    await unpackStrictly(Readable.from([honestArchive]), into, artifactOf(honest, honestArchive), never);
    assert.deepEqual(await treeDifferences(into, honest), []);
    assert.equal((await stat(join(into, 'bin/serve'))).mode & 0o7777, 0o755);
  });

  test('its folders are open to other users, whatever the umask is', async () => {
    const into = fresh();
    const umask = process.umask(0o077);
    try {
      await unpackStrictly(Readable.from([honestArchive]), into, artifactOf(honest, honestArchive), never);
    } finally {
      process.umask(umask);
    }
    for (const path of ['.', 'bin', 'data'])
      assert.equal((await stat(join(into, path))).mode & 0o7777, 0o755, path);
  });

  test('an honest archive may name its folders', async () => {
    const packed = archive(
      entry({ name: 'bin/', type: '5', mode: '0000755\0' }),
      entry({ name: 'bin/serve', mode: '0000755\0' }, honestFiles['bin/serve']),
      entry({ name: 'data', type: '5', mode: '0000755\0' }),
      entry({ name: 'data/seed.json' }, honestFiles['data/seed.json']),
    );
    const into = fresh();
    await unpackStrictly(Readable.from([packed]), into, artifactOf(honest, packed), never);
    assert.deepEqual(await treeDifferences(into, honest), []);
  });

  test('its folders may be entered by every user, whatever the umask', async () => {
    const into = fresh();
    const umask = process.umask(0o077);
    try {
      await unpackStrictly(Readable.from([honestArchive]), into, artifactOf(honest, honestArchive), never);
    } finally {
      process.umask(umask);
    }
    for (const path of ['', 'bin', 'data'])
      assert.equal((await stat(join(into, path))).mode & 0o777, 0o755, path);
  });

  test('a folder that is there already is not unpacked into', async () => {
    const into = fresh();
    await mkdir(into);
    const work = unpackStrictly(
      Readable.from([honestArchive]),
      into,
      artifactOf(honest, honestArchive),
      never,
    );
    await assert.rejects(work, { code: 'EEXIST' });
    assert.deepEqual(await readdir(into), []);
  });

  test('an aborted signal stops it with its reason', async () => {
    const stop = new AbortController();
    const reason = new PlexiError('CANCELLED', 'Stopped.');
    const stalled = new Readable({ read: () => {} });
    stalled.push(honestArchive.subarray(0, 40));
    const work = unpackStrictly(stalled, fresh(), artifactOf(honest, honestArchive), stop.signal);
    stop.abort(reason);
    await assert.rejects(work, reason);
    assert.equal(stalled.destroyed, true);
  });

  test('an error of the stream comes out as it is', async () => {
    const broken = new PlexiError('DOWNLOAD_FAILED', 'The connection broke.');
    async function* failing(): AsyncGenerator<Buffer> {
      yield honestArchive.subarray(0, 40);
      throw broken;
    }
    await assert.rejects(
      unpackStrictly(Readable.from(failing()), fresh(), artifactOf(honest, honestArchive), never),
      broken,
    );
  });
});

describe('hostile archives', () => {
  test('there are at least sixty', () => {
    assert.ok(Object.keys(hostileArchives).length >= 60, String(Object.keys(hostileArchives).length));
  });

  for (const [name, [bytes, why]] of Object.entries(hostileArchives)) {
    test(`refused: ${name}`, async () => {
      const before = await readdir(dirname(folder));
      const error = await refusal(bytes);
      assert.equal(error.code, 'ARCHIVE_REFUSED', error.message);
      assert.match(error.message, why);
      assert.doesNotMatch(error.message, /[^ -~]/);
      const escaped = (await readdir(dirname(folder))).filter(
        (it) => !before.includes(it) && it === 'outside',
      );
      assert.deepEqual(escaped, []);
      assert.ok((await readdir(folder)).every((it) => it.startsWith('unpacked-') || it.startsWith('from-')));
    });
  }

  test('a manifest beyond the limits is refused before anything is created', async () => {
    const big = { ...fileOf('big', Buffer.alloc(1)), sizeBytes: 5 * 1024 ** 3 };
    assert.match(
      (await refusal(honestArchive, artifactOf([big], honestArchive))).message,
      /a file of more than/,
    );
    const many = Array.from({ length: 5 }, (_, i) => ({ ...big, path: `big${i}`, sizeBytes: 4 * 1024 ** 3 }));
    assert.match(
      (await refusal(honestArchive, artifactOf(many, honestArchive))).message,
      /unpacks to more than/,
    );
    const bomb = { ...big, sizeBytes: 1024 ** 3 };
    assert.match(
      (await refusal(honestArchive, artifactOf([bomb], honestArchive))).message,
      /200 times its size/,
    );
    await assert.rejects(stat(join(folder, `unpacked-${count - 1}`)), { code: 'ENOENT' });
  });

  test('a ratio beyond the limit is refused while it streams, whatever the manifest says of the size', async () => {
    const zeros = Buffer.alloc(64 * 1024 * 1024);
    const packed = archive(entry({ name: 'zeros' }, zeros));
    const lying = { ...artifactOf([fileOf('zeros', zeros)], packed), sizeBytes: 1024 ** 3 };
    assert.match((await refusal(packed, lying)).message, /"zeros" unpacks to more than 200 times/);
  });

  test('any damage to an honest archive is refused, or changes nothing', async () => {
    const flips = fc.tuple(fc.nat({ max: 4096 }), fc.integer({ min: 1, max: 255 }));
    const tar = archiveBody();
    await fc.assert(
      fc.asyncProperty(fc.array(flips, { minLength: 1, maxLength: 3 }), async (changes) => {
        const damaged = Buffer.from(tar);
        for (const [at, mask] of changes)
          damaged[at % damaged.length] = (damaged[at % damaged.length] ?? 0) ^ mask;
        const into = fresh();
        const packed = gzipSync(damaged);
        try {
          await unpackStrictly(Readable.from([packed]), into, artifactOf(honest, packed), never);
          assert.deepEqual(await treeDifferences(into, honest), []);
        } catch (thrown) {
          assert.ok(thrown instanceof PlexiError && thrown.code === 'ARCHIVE_REFUSED', String(thrown));
        }
        await rm(into, { recursive: true, force: true });
      }),
      { numRuns: 150 },
    );
  });
});

function archiveBody(): Buffer {
  return Buffer.concat([
    entry({ name: 'bin/serve', mode: '0000755\0' }, honestFiles['bin/serve']),
    entry({ name: 'data/seed.json' }, honestFiles['data/seed.json']),
    Buffer.alloc(1024),
  ]);
}

describe('packing', () => {
  const deep = `${'d'.repeat(90)}/${'e'.repeat(90)}/${'f'.repeat(90)}/${'g'.repeat(120)}/end.txt`;
  const contents: Record<string, Buffer> = {
    'bin/serve': Buffer.from('#!/bin/true\n'),
    empty: Buffer.alloc(0),
    'grün/süß/日本語.txt': Buffer.from('names beyond ASCII'),
    [`${'p'.repeat(120)}/${'n'.repeat(90)}`]: Buffer.from('fits name and prefix'),
    [deep]: Buffer.from('needs a pax header'),
    [`ü${'x'.repeat(99)}/${'日本'.repeat(40)}`]: Buffer.from('a pax header beyond ASCII'),
    'noise.bin': Buffer.from(Array.from({ length: 700_001 }, (_, i) => (i * 7919) % 251)),
  };
  const files = Object.entries(contents).map(([path, bytes]) =>
    fileOf(path, bytes, path.startsWith('bin/') ? 0o755 : 0o644),
  );

  async function source(): Promise<string> {
    const from = join(folder, `from-${count++}`);
    for (const file of files) {
      await mkdir(dirname(join(from, file.path)), { recursive: true });
      await writeFile(join(from, file.path), contents[file.path] ?? '');
      await chmod(join(from, file.path), file.mode);
    }
    return from;
  }

  test('gives the same bytes twice, and they unpack to the same tree', async () => {
    const [one, two] = [join(await source(), '../from-1.tar.gz'), join(await source(), '../from-2.tar.gz')];
    const first = await packFolder(await source(), files, one);
    const second = await packFolder(await source(), [...files].reverse(), two);
    assert.deepEqual(second, first);
    const bytes = await readFile(one);
    assert.deepEqual(first, { sizeBytes: bytes.length, sha256: sha256(bytes) });
    const into = fresh();
    await unpackStrictly(
      createReadStream(one, { highWaterMark: 333 }),
      into,
      artifactOf(files, bytes),
      never,
    );
    assert.deepEqual(await treeDifferences(into, files), []);
  });

  test('gives what other tar programs read alike', async () => {
    const from = await source();
    const file = join(from, '../from-other.tar.gz');
    await packFolder(from, files, file);
    const paths = files.map(({ path }) => path).sort();
    const seen: string[] = [];
    await list({ file, strict: true, onReadEntry: (it) => seen.push(it.path) });
    assert.deepEqual(seen.sort(), paths);
    const into = fresh();
    await mkdir(into);
    execFileSync('tar', ['-xzpf', file, '-C', into]);
    assert.deepEqual(await treeDifferences(into, files), []);
  });

  test('refuses a file that changed since it was listed', async () => {
    const from = await source();
    await writeFile(join(from, 'bin/serve'), '#!/bin/false');
    const work = packFolder(from, files, join(from, '../from-changed.tar.gz'));
    await assert.rejects(work, { code: 'RELEASE_INVALID', message: /bin\/serve changed while/ });
  });

  test("does not follow a link that took a file's place", async () => {
    const from = await source();
    await rm(join(from, 'bin/serve'));
    await symlink('/bin/true', join(from, 'bin/serve'));
    await assert.rejects(packFolder(from, files, join(from, '../from-link.tar.gz')), { code: 'ELOOP' });
  });
});
