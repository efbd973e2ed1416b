/**
 * What a release repository may hold: archives, manifests, indexes, and the marks of installed releases.
 * Whatever they are, the answer is a refusal with a sentence, and nothing stands outside the folder that
 * was made for the release. The corpus of archives made by hand is in release/archive.test.ts.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync } from 'node:fs';
import { mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { after, before, describe, test } from 'node:test';
import { gunzipSync, gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { unpackStrictly } from '../../release/archive.js';
import {
  archive,
  honestArchive,
  honestFiles,
  hostileArchives,
  rawHeader,
} from '../../release/hostile-archives.test.part.js';
import { parseManifest, printManifest, treeDigest } from '../../release/manifest.js';
import type { ReleaseArtifact, ReleaseFile } from '../../release/manifest-shape.js';
import { installedCopies, installedRelease } from '../../release/repository/installed.js';
import { parseIndex, printIndex } from '../../release/repository/layout.js';
import { verifyManifest } from '../../release/repository/verify.js';
import { sampleManifest, sampleMigration } from '../../release/sample-release.test.part.js';
import { treeDifferences } from '../../release/tree.js';
import { Canary } from './canary.test.part.js';
import { foreignArchives } from './foreign-archives.test.part.js';
import { jsonWounds, oddTexts, wounded, woundedJson, wounds } from './mutations.test.part.js';
import { codeOf, endOf } from './promise.test.part.js';
import { hostile } from './target.test.part.js';

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
const never = new AbortController().signal;
const parent = mkdtempSync(join(tmpdir(), 'plexi-hostile-'));
mkdirSync(join(parent, 'into'));
let canary: Canary;
let count = 0;

before(async () => {
  await mkdir(join(parent, 'beside'));
  await writeFile(join(parent, 'beside', 'outside'), 'as it was\n');
  await symlink('beside', join(parent, 'link'));
  canary = await Canary.set(parent, ['into']);
});
after(() => rm(parent, { recursive: true, force: true }));

const listed: ReleaseFile[] = Object.entries(honestFiles).map(([path, contents]) => ({
  path,
  mode: path === 'bin/serve' ? 0o755 : 0o644,
  sizeBytes: contents.length,
  sha256: sha256(contents),
}));

function artifactOf(packed: Buffer): ReleaseArtifact {
  const unpackedBytes = listed.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const sizes = { sizeBytes: packed.length, unpackedBytes };
  const digests = { sha256: sha256(packed), treeDigest: treeDigest(listed) };
  return { os: 'any', arch: 'any', file: 'x.tar.gz', files: listed, ...sizes, ...digests };
}

/** Unpacks; what was accepted is exactly the listed tree, and nothing stands beside the folder. */
async function unpack(packed: Buffer, chunkBytes = 97): Promise<string> {
  const into = join(parent, 'into', String(count++));
  const chunks = function* (): Generator<Buffer> {
    for (let at = 0; at < packed.length; at += chunkBytes) yield packed.subarray(at, at + chunkBytes);
  };
  try {
    const end = await endOf(() => unpackStrictly(Readable.from(chunks()), into, artifactOf(packed), never));
    if (end === 'fine') assert.deepEqual(await treeDifferences(into, listed), []);
    await canary.check();
    return end;
  } finally {
    await rm(into, { recursive: true, force: true });
  }
}

describe('an archive in the dialect of another program is refused by name', () => {
  for (const [what, [packed, why]] of Object.entries(foreignArchives))
    test(what, async () => {
      const into = join(parent, 'into', String(count++));
      await assert.rejects(
        unpackStrictly(Readable.from([packed]), into, artifactOf(packed), never),
        (thrown) => {
          assert.equal(codeOf(thrown), 'ARCHIVE_REFUSED');
          assert.match(String(thrown), why);
          return true;
        },
      );
      await canary.check();
    });
});

const honestTar = gunzipSync(honestArchive);
const samples = [honestArchive, ...[...Object.values(hostileArchives)].map(([packed]) => packed)].filter(
  ({ length }) => length < 16 * 1024,
);

hostile(import.meta.url, {
  name: 'a damaged archive gives the listed tree or a refusal, and writes nothing outside',
  cases: fc.record({
    isPacked: fc.boolean(),
    of: fc.nat(samples.length - 1),
    wounds,
    chunkBytes: fc.constantFrom(1, 97, 512, 65_536),
  }),
  casesMin: 20,
  check: ({ isPacked, of, wounds: all, chunkBytes }) =>
    unpack(
      isPacked ? wounded(samples[of] ?? honestArchive, all) : gzipSync(wounded(honestTar, all)),
      chunkBytes,
    ),
});

const names = [
  ...oddTexts.map((text) => text.slice(0, 99)),
  'bin',
  'bin/',
  'bin/serve',
  'data/seed.json',
  'data/',
];
const header = fc.record(
  {
    name: fc
      .oneof(fc.constantFrom(...names), fc.string({ maxLength: 100, unit: 'binary' }))
      .map((name) => Buffer.from(name).subarray(0, 100)),
    type: fc.constantFrom('0', '\0', '1', '2', '3', '4', '5', '6', '7', 'x', 'g', 'L', 'K', 'S', 'Z'),
    mode: fc.constantFrom('0000644\0', '0000755\0', '0004755\0', '       \0', 'zzzzzzz\0', '7777777\0'),
    size: fc.oneof(fc.constantFrom(0, 16, 40, 512, 0o77777777777), fc.nat(4_000)),
    linkName: fc.constantFrom('', '/etc/passwd', '../..', 'bin/serve'),
    prefix: fc.constantFrom('', '/etc', '..', 'bin', 'data'),
    breakChecksum: fc.constantFrom(false, false, false, true),
  },
  { requiredKeys: ['name'] },
);
const contents = fc.oneof(
  fc.constantFrom(honestFiles['bin/serve'], honestFiles['data/seed.json']),
  fc.uint8Array({ maxLength: 600 }),
);

hostile(import.meta.url, {
  name: 'an archive of drawn entries gives the listed tree or a refusal, and writes nothing outside',
  cases: fc.array(fc.tuple(header, contents), { maxLength: 6 }),
  casesMin: 20,
  check: (entries) => {
    const blocks = entries.flatMap(([given, body]) => {
      const padding = Buffer.alloc((512 - (body.length % 512)) % 512);
      return [rawHeader({ size: body.length, ...given }), Buffer.from(body), padding];
    });
    return unpack(archive(...blocks));
  },
});

const manifest = sampleManifest('0b1', [sampleMigration('001-a'), sampleMigration('002-b')]);
const manifestJson: unknown = JSON.parse(printManifest(manifest).toString());
const index = ['0a1', '0b1', '1a1+2'].map((version) => ({
  version,
  manifestSha256: 'a'.repeat(64),
  createdAt: '2024-12-19T12:00:00.000Z',
}));
const indexJson: unknown = JSON.parse(printIndex(index).toString());
const damage = fc.oneof({ weight: 3, arbitrary: jsonWounds }, wounds);

/** The text of a document after its damage, which is either of its values or of its bytes. */
function damaged(sample: unknown, how: unknown): Buffer {
  const isOfBytes = Array.isArray(how) && how.some((one) => !('name' in one));
  return isOfBytes
    ? wounded(Buffer.from(JSON.stringify(sample)), how as Parameters<typeof wounded>[1])
    : Buffer.from(woundedJson(sample, how as Parameters<typeof woundedJson>[1]));
}

hostile(import.meta.url, {
  name: 'a damaged manifest is what its laws allow or is refused',
  cases: damage,
  casesMin: 50,
  check: (how) =>
    endOf(() => {
      const read = parseManifest(damaged(manifestJson, how));
      for (const { files } of read.artifacts)
        for (const { path, mode } of files) {
          assert.ok(!path.startsWith('/') && !path.split('/').includes('..'), path);
          assert.ok(mode <= 0o777);
        }
    }),
});

hostile(import.meta.url, {
  name: 'a damaged index of a repository is read or is refused',
  cases: damage,
  casesMin: 50,
  check: (how) => endOf(() => parseIndex(damaged(indexJson, how), '/srv/releases')),
});

hostile(import.meta.url, {
  name: 'an installed release with a damaged mark or manifest is never taken for whole',
  cases: fc.record({ isMark: fc.boolean(), how: damage }),
  casesMin: 20,
  check: async ({ isMark, how }) => {
    const releases = join(parent, 'into', String(count++));
    const folder = `0b1-${manifest.artifacts[0]?.treeDigest.slice(0, 12)}`;
    const bytes = printManifest(manifest);
    const mark = {
      version: '0b1',
      treeDigest: manifest.artifacts[0]?.treeDigest,
      manifestSha256: sha256(bytes),
    };
    await mkdir(join(releases, folder), { recursive: true });
    await writeFile(join(releases, `${folder}.manifest.json`), isMark ? bytes : damaged(manifestJson, how));
    await writeFile(join(releases, folder, '.complete'), isMark ? damaged(mark, how) : JSON.stringify(mark));
    const end = await endOf(async () => {
      const found = await installedRelease(releases, folder);
      if (found !== undefined) verifyManifest(bytes, found.manifestSha256);
    });
    assert.ok(['fine', 'RELEASE_INVALID', 'LIMIT_EXCEEDED'].includes(end), end);
    await endOf(() => installedCopies(releases, '0b1'));
    await rm(releases, { recursive: true, force: true });
    return end;
  },
});
