/**
 * Manifests: what is printed reads back, each kind of wrong manifest is refused by name with all its
 * problems, any damage is an error and never a crash, and migrations lead there and back.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { PlexiError } from '../config/errors.js';
import { limits } from '../config/limits.js';
import { artifactFor, migrationsBetween, parseManifest, printManifest, treeDigest } from './manifest.js';
import type { ReleaseManifest } from './manifest-shape.js';
import { migrationChecksum } from './migrations.js';
import { sampleManifest, sampleMigration, sha256 } from './sample-release.test.part.js';

type Json = Record<string, unknown>;

/** The sample as JSON with a change at a path such as `artifacts.0.files.1.path`. */
function changed(path: string, value: unknown): Buffer {
  const root: Json = JSON.parse(printManifest(sampleManifest('0b1', [sampleMigration('001')])).toString());
  const keys = path.split('.');
  const last = keys.pop() ?? '';
  let at: unknown = root;
  for (const key of keys) at = Reflect.get(Object(at), key);
  if (value === undefined) Reflect.deleteProperty(Object(at), last);
  else Reflect.set(Object(at), last, value);
  return Buffer.from(JSON.stringify(root));
}

function problems(bytes: Uint8Array): PlexiError {
  try {
    parseManifest(bytes);
  } catch (thrown) {
    assert.ok(thrown instanceof PlexiError, String(thrown));
    assert.equal(thrown.code, 'RELEASE_INVALID');
    return thrown;
  }
  return assert.fail('the manifest was accepted');
}

describe('a manifest', () => {
  test('reads back as it was printed, modes as octal digits', () => {
    const manifest = sampleManifest('0b1', [sampleMigration('001')]);
    manifest.tests = [
      { name: 'smoke', command: ['node', 'smoke.mjs'], timeoutMs: 1000, mustNotLog: 'panic' },
      { name: 'quick', command: ['true'], timeoutMs: 1000 },
    ];
    const bytes = printManifest(manifest);
    assert.deepEqual(parseManifest(bytes), manifest);
    assert.match(bytes.toString(), /"mode": "0755"/);
  });

  test('of a newer build keeps its meaning for an older reader', () => {
    assert.deepEqual(
      parseManifest(changed('strategy', { patch: true })),
      sampleManifest('0b1', [sampleMigration('001')]),
    );
  });

  const wrong: [path: string, value: unknown, why: RegExp][] = [
    ['schema', 2, /schema: must be 1/],
    ['name', 'two words', /name: /],
    ['version', undefined, /version: /],
    ['version', 1, /version: /],
    ['createdAt', 'yesterday', /createdAt: must be an RFC 3339/],
    ['sourceCommit', 'HEAD', /sourceCommit: must be a commit/],
    ['artifacts', [], /artifacts: /],
    ['artifacts.0.file', '../x.tar.gz', /artifacts.0.file: must be a plain file name/],
    ['artifacts.0.sha256', 'abc', /artifacts.0.sha256: must be 64/],
    ['artifacts.0.sizeBytes', -1, /artifacts.0.sizeBytes/],
    ['artifacts.0.unpackedBytes', 8, /its files add up to 7/],
    ['artifacts.0.treeDigest', sha256('other'), /treeDigest of .* is not that of its files/],
    ['artifacts.0.files.0.path', '../etc/passwd', /the path has the segment "\.\."/],
    ['artifacts.0.files.0.path', '/etc/passwd', /the path is absolute/],
    ['artifacts.0.files.0.path', 'a\\b', /the path holds a backslash/],
    ['artifacts.0.files.0.path', 'a\u0000b', /the path holds a NUL/],
    ['artifacts.0.files.0.path', 'a\u0001b', /the path holds a control character/],
    ['artifacts.0.files.0.path', 'a//b', /the path has an empty segment/],
    ['artifacts.0.files.0.path', 'c:/b', /drive letter/],
    ['artifacts.0.files.0.path', '.complete', /marks a complete release/],
    ['artifacts.0.files.0.path', 'a\ud800', /not well-formed/],
    ['artifacts.0.files.0.path', 'a/'.repeat(600), /more than 1024 characters/],
    ['artifacts.0.files.0.path', 'x'.repeat(256), /more than 255 bytes/],
    ['artifacts.0.files.0.path', 'version.TXT', /differ in case only/],
    ['artifacts.0.files.0.path', 'VERSION.txt', /stands there twice/],
    ['artifacts.0.files.0.path', 'VERSION.txt/x', /is a file and a folder/],
    ['artifacts.0.files.0.mode', '4755', /artifacts.0.files.0.mode: .*no setuid/],
    ['artifacts.0.files.0.mode', 493, /artifacts.0.files.0.mode/],
    ['artifacts.0.files.0.sizeBytes', limits.releaseFileBytes + 1, /files.0.sizeBytes/],
    ['artifacts.0.files.0.sizeBytes', 1.5, /files.0.sizeBytes/],
    ['service.start', [], /service.start/],
    ['service.start', [''], /must begin with a program/],
    ['service.start', ['a\u0000b'], /no NUL/],
    ['service.env', { PLEXI_NODE: 'x' }, /service.env/],
    ['service.stopSignal', 'SIGSTOP', /service.stopSignal/],
    ['migrations.0.scope', 'world', /migrations.0.scope/],
    ['migrations.0.down', undefined, /migrations.0.down/],
    ['migrations.0.timeoutMs', 0, /migrations.0.timeoutMs/],
    ['migrations', [sampleMigration('001'), sampleMigration('001')], /two migrations of one id/],
  ];
  for (const [path, value, why] of wrong) {
    test(`is refused for ${path} = ${JSON.stringify(value)?.slice(0, 40)}`, () => {
      assert.match(problems(changed(path, value)).message, why);
    });
  }

  test('tells all its problems at once, and counts those it does not list', () => {
    const two: Json = JSON.parse(changed('name', '').toString());
    const error = problems(Buffer.from(JSON.stringify({ ...two, service: {}, version: 7 })));
    assert.match(error.message, /name: .*; version: .*; service.start: /);
    const many = Array.from({ length: 80 }, () => 'x');
    assert.match(problems(changed('artifacts.0.files', many)).message, /and \d+ more/);
  });

  test('for two machines of one kind, or that unpacks to a bomb, is refused', () => {
    const [artifact] = sampleManifest().artifacts;
    assert.ok(artifact !== undefined);
    const twice = { ...sampleManifest(), artifacts: [artifact, { ...artifact, file: 'other.tar.gz' }] };
    assert.match(problems(printManifest(twice)).message, /two artifacts for one platform/);
    const files = [{ path: 'zeros', mode: 0o644, sizeBytes: 10 ** 9, sha256: sha256('') }];
    const bomb = {
      ...artifact,
      files,
      unpackedBytes: 10 ** 9,
      treeDigest: treeDigest(files),
      sizeBytes: 1_000_000,
    };
    assert.match(
      problems(printManifest({ ...sampleManifest(), artifacts: [bomb] })).message,
      /200 times its size/,
    );
  });

  test('that is no JSON, no UTF-8, too big or damaged anywhere is an error and no crash', () => {
    for (const bytes of [
      Buffer.from('{'),
      Buffer.from([0xff]),
      Buffer.alloc(0),
      Buffer.from('null'),
      Buffer.from('[]'),
    ]) {
      problems(bytes);
    }
    assert.match(problems(Buffer.alloc(limits.manifestBytes + 1, ' ')).message, /more than \d+ bytes/);
    const good = printManifest(sampleManifest('0b1', [sampleMigration('001')]));
    fc.assert(
      fc.property(fc.nat({ max: good.length - 1 }), fc.uint8Array({ maxLength: 4 }), (at, bytes) => {
        const damaged = Buffer.concat([good.subarray(0, at), bytes, good.subarray(at + bytes.length)]);
        try {
          parseManifest(damaged);
        } catch (thrown) {
          assert.ok(thrown instanceof PlexiError && thrown.code === 'RELEASE_INVALID', String(thrown));
        }
      }),
      { numRuns: 400 },
    );
    fc.assert(
      fc.property(fc.json(), (text) => void problems(Buffer.from(text))),
      { numRuns: 300 },
    );
  });
});

describe('what a manifest is for', () => {
  test('the tree digest depends on every file and not on their order', () => {
    const files = sampleManifest().artifacts.flatMap((it) => it.files);
    const digest = treeDigest(files);
    assert.equal(treeDigest([...files].reverse()), digest);
    for (const change of [
      { mode: 0o600 },
      { sizeBytes: 9 },
      { sha256: sha256('x') },
      { path: 'bin/other' },
    ]) {
      assert.notEqual(
        treeDigest(files.map((file, at) => (at === 0 ? { ...file, ...change } : file))),
        digest,
      );
    }
  });

  test("the archive of a machine's own kind comes before one for any", () => {
    const [artifact] = sampleManifest().artifacts;
    assert.ok(artifact !== undefined);
    const kinds = [
      ['any', 'any'],
      ['any', 'arm64'],
      ['linux', 'any'],
      ['linux', 'x64'],
    ];
    const artifacts = kinds.map(([os = '', arch = '']) => ({ ...artifact, os, arch }));
    const manifest: ReleaseManifest = { ...sampleManifest(), artifacts };
    const found = (os: string, arch: string): string => {
      const it = artifactFor(manifest, os, arch);
      return `${it?.os}/${it?.arch}`;
    };
    assert.equal(found('linux', 'x64'), 'linux/x64');
    assert.equal(found('linux', 'arm64'), 'linux/any');
    assert.equal(found('darwin', 'arm64'), 'any/arm64');
    assert.equal(found('darwin', 'x64'), 'any/any');
    assert.equal(artifactFor({ ...manifest, artifacts: artifacts.slice(3) }, 'darwin', 'x64'), undefined);
  });
});

describe('migrations', () => {
  const [one, two, three] = [sampleMigration('001'), sampleMigration('002'), sampleMigration('003')];
  const old = sampleManifest('0a1', [one]);
  const fresh = sampleManifest('0r1', [one, two, three]);
  const ids = (steps: { id: string; direction: string }[]): string[] =>
    steps.map((it) => `${it.id} ${it.direction}`);

  test('forward are those that are new, in order; back the same in reverse', () => {
    assert.deepEqual(ids(migrationsBetween(old, fresh, 'forward')), ['002 up', '003 up']);
    assert.deepEqual(ids(migrationsBetween(fresh, old, 'back')), ['003 down', '002 down']);
    assert.deepEqual(ids(migrationsBetween(undefined, fresh, 'forward')), ['001 up', '002 up', '003 up']);
    assert.deepEqual(ids(migrationsBetween(fresh, undefined, 'back')), ['003 down', '002 down', '001 down']);
    assert.deepEqual(migrationsBetween(fresh, fresh, 'forward'), []);
    assert.deepEqual(migrationsBetween(undefined, undefined, 'back'), []);
    assert.equal(migrationsBetween(old, fresh, 'forward')[0]?.checksum, two.checksum);
  });

  test('of one id with two meanings are refused, either way', () => {
    const other = sampleManifest('0b1', [sampleMigration('001', 'changed')]);
    for (const direction of ['forward', 'back'] as const) {
      assert.throws(() => migrationsBetween(old, other, direction), {
        code: 'RELEASE_INVALID',
        message: /"001" of 0b1/,
      });
    }
  });

  test('have a checksum over their words and the files that those name', () => {
    const migration = {
      id: '1',
      scope: 'node' as const,
      up: ['node', './m/1.mjs', 'up'],
      down: ['node', 'm/1.mjs', 'down'],
    };
    const file = (path: string, contents: string) => ({
      path,
      mode: 0o644,
      sizeBytes: 1,
      sha256: sha256(contents),
    });
    const checksum = migrationChecksum(migration, [file('m/1.mjs', 'a'), file('other', 'b')]);
    assert.equal(migrationChecksum(migration, [file('other', 'c'), file('m/1.mjs', 'a')]), checksum);
    assert.notEqual(migrationChecksum(migration, [file('m/1.mjs', 'changed')]), checksum);
    assert.notEqual(migrationChecksum({ ...migration, up: ['node'] }, [file('m/1.mjs', 'a')]), checksum);
    assert.notEqual(migrationChecksum({ ...migration, scope: 'cluster' }, [file('m/1.mjs', 'a')]), checksum);
    const files = [file('m/1.mjs', 'a'), file('check.mjs', 'b')];
    const checked = migrationChecksum({ ...migration, check: ['node', 'check.mjs'] }, files);
    assert.notEqual(checked, checksum);
    const changed = [file('m/1.mjs', 'a'), file('check.mjs', 'changed')];
    assert.notEqual(migrationChecksum({ ...migration, check: ['node', 'check.mjs'] }, changed), checked);
  });

  test('without a check mean what they meant before there were checks', () => {
    const migration = { id: '001', scope: 'node' as const, up: ['up'], down: ['down'] };
    const meaning = '["001","node",["up"],["down"],[]]';
    assert.equal(migrationChecksum(migration, []), sha256(meaning));
    const one = { ...migration, checksum: sha256('x'), timeoutMs: 1 };
    for (const it of [one, { ...one, check: ['node', 'check.mjs'] }]) {
      const manifest = sampleManifest('0b1', [it]);
      assert.deepEqual(parseManifest(printManifest(manifest)), manifest);
    }
  });
});
