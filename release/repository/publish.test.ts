/**
 * Building a release: what gets into it and what never does, that a published version never changes,
 * and that the repository is whole after any number of builds at once. Real folders and a real git.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmod,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { PlexiError } from '../../config/errors.js';
import { parseManifest, printManifest } from '../manifest.js';
import { sampleManifest, sampleSource, sha256, writeTree } from '../sample-release.test.part.js';
import { versionScheme } from '../version.js';
import { openRepository } from './fetch.js';
import { type BuildOptions, buildRelease } from './publish.js';
import { writeIndex } from './write-index.js';

const now = new Date('2024-12-19T12:00:00.000Z');
let root = '';
let count = 0;
let repository = '';

before(async () => {
  root = await mkdtemp(join(tmpdir(), 'plexi-publish-'));
});
after(() => rm(root, { recursive: true, force: true }));
beforeEach(() => {
  repository = join(root, `repository-${count++}`);
});

function source(version: string, more: Record<string, string | Buffer> = {}): Promise<string> {
  return writeTree(join(root, `source-${count++}`), sampleSource(version, more));
}

async function build(version: string, from: string, more: Partial<BuildOptions> = {}) {
  return buildRelease({ version, from, repository, now, ...more });
}

async function refused(work: Promise<unknown>, code: string, sentence: RegExp): Promise<void> {
  await assert.rejects(work, (thrown) => {
    assert.ok(thrown instanceof PlexiError, String(thrown));
    assert.equal(thrown.code, code, thrown.message);
    assert.match(thrown.message, sentence);
    return true;
  });
}

function git(folder: string, ...words: string[]): string {
  const identity = ['-c', 'user.name=test', '-c', 'user.email=test@localhost', '-c', 'commit.gpgsign=false'];
  return execFileSync('git', ['-C', folder, ...identity, ...words], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
}

describe('a build', () => {
  test('publishes archive, manifest and index that agree', async () => {
    const from = await source('0b1', {
      'release.yml': [
        ...[
          'name: chat',
          'service:',
          '  start: [node, server.mjs]',
          '  env: {MODE: "plain"}',
          '  stop_signal: SIGINT',
        ],
        ...[
          'migrations:',
          '  - {id: 001-rooms, scope: node, up: [node, m.mjs, up], down: [node, m.mjs, down], check: [node, m.mjs, check], timeout_seconds: 60}',
        ],
        ...[
          'tests:',
          '  - {name: smoke, command: [node, smoke.mjs], timeout_seconds: 5, must_not_log: panic}',
        ],
        ...['exclude: [notes, secret.txt]', ''],
      ].join('\n'),
      ...{
        'm.mjs': '// up and down\n',
        'notes/a.txt': 'x',
        'secret.txt': 'x',
        '.git/config': 'x',
        'sub/.git': 'x',
      },
    });
    const built = await build('0b1', from);
    const bytes = await readFile(join(repository, '0b1/manifest.json'));
    assert.deepEqual(parseManifest(bytes), built.manifest);
    assert.equal(built.manifestSha256, sha256(bytes));
    const { artifacts, migrations, service, tests, ...head } = built.manifest;
    assert.deepEqual(head, {
      schema: 1,
      name: 'chat',
      version: '0b1',
      createdAt: now.toISOString(),
      sourceCommit: null,
    });
    assert.deepEqual(service, {
      start: ['node', 'server.mjs'],
      env: { MODE: 'plain' },
      stopSignal: 'SIGINT',
    });
    assert.deepEqual(tests, [
      { name: 'smoke', command: ['node', 'smoke.mjs'], timeoutMs: 5000, mustNotLog: 'panic' },
    ]);
    assert.deepEqual(
      migrations.map((it) => [it.id, it.scope, it.timeoutMs, it.check]),
      [['001-rooms', 'node', 60_000, ['node', 'm.mjs', 'check']]],
    );
    const [artifact] = artifacts;
    assert.deepEqual(artifact?.files.map((it) => it.path).sort(), [
      'VERSION.txt',
      'bin/serve',
      'm.mjs',
      'server.mjs',
    ]);
    assert.equal(artifact?.files.find((it) => it.path === 'bin/serve')?.mode, 0o755);
    assert.equal(artifact?.file, 'chat-0b1-any-any.tar.gz');
    const archive = await readFile(join(repository, '0b1/chat-0b1-any-any.tar.gz'));
    assert.deepEqual([artifact?.sizeBytes, artifact?.sha256], [archive.length, sha256(archive)]);
    const index: unknown = JSON.parse(await readFile(join(repository, 'index.json'), 'utf8'));
    const entry = { version: '0b1', manifestSha256: sha256(bytes), createdAt: now.toISOString() };
    assert.deepEqual(index, { schema: 1, versions: [entry] });
    assert.deepEqual(
      (await readdir(repository, { recursive: true })).filter((name) => name.includes('.tmp')),
      [],
    );
  });

  test('of the same tree gives the same bytes, and modes that no umask decides', async () => {
    const one = await build('0b1', await source('0b1'));
    const other = await source('0b1');
    await chmod(join(other, 'server.mjs'), 0o600);
    await chmod(join(other, 'bin/serve'), 0o700);
    repository = join(root, `repository-${count++}`);
    const two = await build('0b1', other);
    assert.deepEqual(two.artifact, one.artifact);
    assert.equal(two.manifestSha256, one.manifestSha256);
  });

  test('leaves out a repository that stands in the folder itself', async () => {
    const from = await source('0b1');
    repository = join(from, 'releases');
    await build('0b1', from);
    const again = await build('0b1', from);
    assert.equal(again.already, true);
    assert.equal(again.artifact.files.length, 3);
    await refused(build('0b1', from, { repository: from }), 'RELEASE_INVALID', /it is also the repository/);
  });

  test('leaves it out by whatever path it is named', async () => {
    const from = await source('0b1');
    await mkdir(join(from, '..releases'));
    repository = join(root, `link-${count++}`);
    await symlink(join(from, '..releases'), repository);
    for (const more of [{}, { repository: join(from, '..releases') }]) {
      const built = await build('0b1', from, more);
      assert.deepEqual(built.artifact.files.map(({ path }) => path).sort(), [
        ...['VERSION.txt', 'bin/serve', 'server.mjs'],
      ]);
    }
    repository = join(root, `link-${count++}`);
    await symlink(from, repository);
    await refused(build('0b1', from), 'RELEASE_INVALID', /it is also the repository/);
  });

  test('names the version as its scheme prints it', async () => {
    const built = await build('a.1.1-7', await source('1a1+7'));
    assert.equal(built.manifest.version, '1a1+7');
    const semver = await build('1.4.0-rc.1', await source('1.4.0-rc.1'), { scheme: versionScheme('semver') });
    assert.equal(semver.manifest.version, '1.4.0-rc.1');
    const versions = (await openRepository(repository).list()).map((it) => it.version);
    assert.deepEqual(versions.sort(), ['1.4.0-rc.1', '1a1+7']);
  });

  test('refuses a version that is none, or that VERSION.txt contradicts', async () => {
    const from = await source('0b1');
    await refused(build('latest', from), 'VERSION_INVALID', /"latest" is not a version/);
    await refused(
      build('0b2', from),
      'RELEASE_INVALID',
      /VERSION.txt says "0b1", but the release is to be 0b2/,
    );
    await writeFile(join(from, 'VERSION.txt'), 'b.0.1-0\n');
    await refused(build('0b1', from), 'RELEASE_INVALID', /VERSION.txt says "b.0.1-0"/);
    await writeFile(join(from, 'VERSION.txt'), '0b1\r\nversion_updated=today\n');
    await build('0b1', from);
  });

  test('refuses links, special files and paths that no release may hold, all at once', async () => {
    const from = await source('0b1', { 'Server.mjs': 'x', 'back\\slash': 'x' });
    await symlink('/etc/passwd', join(from, 'link'));
    await symlink('bin', join(from, 'folder-link'));
    execFileSync('mkfifo', [join(from, 'pipe')]);
    await assert.rejects(build('0b1', from), (thrown) => {
      assert.ok(thrown instanceof PlexiError && thrown.code === 'RELEASE_INVALID');
      for (const part of [
        '"link" is a link',
        '"folder-link" is a link',
        '"pipe" is a link or a special',
        'backslash',
        'in case only',
      ]) {
        assert.ok(thrown.message.includes(part), `${part} in ${thrown.message}`);
      }
      return true;
    });
    await assert.rejects(readdir(join(repository, '0b1')), { code: 'ENOENT' });
  });

  test('refuses a wrong release.yml with every line, and a folder without one', async () => {
    const text = 'name: two words\nservice:\n  start: [sleep, 5]\n  colour: red\nexclude: [../x]\n';
    await assert.rejects(build('0b1', await source('0b1', { 'release.yml': text })), (thrown) => {
      assert.ok(thrown instanceof PlexiError && thrown.code === 'CONFIG_INVALID', String(thrown));
      for (const part of [
        'release.yml:1: name',
        'release.yml:3: service.start[1]',
        'release.yml:4: service.colour',
        'release.yml:5: exclude[0]',
      ]) {
        assert.ok(thrown.message.includes(part), `${part} in ${thrown.message}`);
      }
      return true;
    });
    const empty = join(root, `source-${count++}`);
    await mkdir(empty);
    await refused(build('0b1', empty), 'CONFIG_INVALID', /release.yml: does not exist/);
    await writeFile(join(empty, 'release.yml'), 'name: chat\nservice: {start: [x]}\n');
    await refused(build('0b1', empty), 'RELEASE_INVALID', /it has no files/);
  });
});

describe('a published version', () => {
  test('is built again without a change, and never with other contents', async () => {
    const first = await build('0b1', await source('0b1'));
    const again = await build('0b1', await source('0b1'), { now: new Date() });
    assert.equal(again.already, true);
    assert.equal(again.manifestSha256, first.manifestSha256);
    await refused(
      build('0b1', await source('0b1', { 'server.mjs': 'other' })),
      'CONFLICT',
      /files for any\/any differ.*new version/,
    );
    await refused(build('0b1', await source('0b1', { extra: '' })), 'CONFLICT', /files for any\/any differ/);
    const other = { 'release.yml': 'name: chat\nservice:\n  start: [node, other.mjs]\n' };
    await refused(build('0b1', await source('0b1', other)), 'CONFLICT', /its service differs/);
    assert.equal((await openRepository(repository).manifest('0b1')).sha256, first.manifestSha256);
  });

  test('may be joined by another platform of the same release', async () => {
    await build('0b1', await source('0b1'), { platform: { os: 'linux', arch: 'x64' } });
    const built = await build('0b1', await source('0b1', { 'native.node': 'arm' }), {
      platform: { os: 'linux', arch: 'arm64' },
    });
    assert.deepEqual(
      built.manifest.artifacts.map((it) => it.file),
      ['chat-0b1-linux-x64.tar.gz', 'chat-0b1-linux-arm64.tar.gz'],
    );
    const [entry] = await openRepository(repository).list();
    assert.equal(entry?.manifestSha256, built.manifestSha256);
    const changed = { 'release.yml': 'name: other\nservice:\n  start: [node, server.mjs]\n' };
    const work = build('0b1', await source('0b1', changed), { platform: { os: 'darwin', arch: 'arm64' } });
    await refused(work, 'CONFLICT', /its name differs/);
  });

  test('is not lost from the index when many builds end together', async () => {
    const versions = Array.from({ length: 16 }, (_, i) => `0a${i + 1}`);
    await Promise.all(
      versions.map(async (version, at) => {
        // Each build comes to its end a few turns of the event loop after the one before.
        for (let turn = 0; turn < at * 3; turn += 1) await setImmediate();
        // As a build does it: a manifest appears as a whole.
        await writeTree(join(repository, `.${version}`), {
          'manifest.json': printManifest(sampleManifest(version)),
        });
        await rename(join(repository, `.${version}`), join(repository, version));
        await writeIndex(repository);
      }),
    );
    const listed = (await openRepository(repository).list()).map((it) => it.version);
    assert.deepEqual(listed, [...versions].sort());
  });

  test('that a dead build left half-way is none, and is built anew', async () => {
    await writeTree(join(repository, '0b1'), {
      'chat-0b1-any-any.tar.gz': 'half',
      '.archive.abc.tmp': 'half',
    });
    const built = await build('0b1', await source('0b1'));
    assert.equal(built.already, false);
    assert.equal(
      (await readFile(join(repository, '0b1', built.artifact.file))).length,
      built.artifact.sizeBytes,
    );
  });

  test('whose builder died before the index was written gets into it when it is built again', async () => {
    await build('0b1', await source('0b1'));
    const index = await readFile(join(repository, 'index.json'));
    await build('0b2', await source('0b2'));
    for (const leave of [
      () => writeFile(join(repository, 'index.json'), index),
      () => rm(join(repository, 'index.json')),
    ]) {
      await leave();
      assert.equal((await build('0b2', await source('0b2'))).already, true);
      assert.deepEqual(
        (await openRepository(repository).list()).map(({ version }) => version),
        ['0b1', '0b2'],
      );
    }
  });

  test('is not built again when everything is in its place, index included', async () => {
    await build('0b1', await source('0b1'));
    const before = await stat(join(repository, 'index.json'));
    assert.equal((await build('0b1', await source('0b1'))).already, true);
    assert.equal((await stat(join(repository, 'index.json'))).ino, before.ino);
  });

  test('joins no repository whose index is of a later program', async () => {
    await build('0b1', await source('0b1'));
    const newer = JSON.stringify({ schema: 2, releases: [] });
    await writeFile(join(repository, 'index.json'), newer);
    const sentence = /index.json is of schema 2.*newer/;
    await refused(build('0b2', await source('0b2')), 'RELEASE_INVALID', sentence);
    await refused(openRepository(repository).list(), 'RELEASE_INVALID', sentence);
    assert.equal(await readFile(join(repository, 'index.json'), 'utf8'), newer);
    assert.deepEqual((await readdir(repository)).sort(), ['0b1', 'index.json']);
    await writeFile(join(repository, 'index.json'), 'damaged');
    await build('0b2', await source('0b2'));
    assert.equal((await openRepository(repository).list()).length, 2);
  });

  test('in the folder of another makes the build say so', async () => {
    await build('0b1', await source('0b1'));
    await writeTree(repository, {
      '0b9/manifest.json': await readFile(join(repository, '0b1/manifest.json')),
    });
    await refused(
      build('0b2', await source('0b2')),
      'RELEASE_INVALID',
      /0b9\/manifest.json is the manifest of 0b1/,
    );
  });
});

const noGit = spawnSync('git', ['--version']).error !== undefined && 'git is not installed';

describe('the source in git', { skip: noGit }, () => {
  test('is named by its commit when it is clean, and refused when it is not', async () => {
    const tree = join(root, `tree-${count++}`);
    const from = await writeTree(join(tree, 'service'), sampleSource('0b1'));
    git(tree, 'init', '-q');
    await refused(build('0b1', from), 'GIT_DIRTY', /changes that are in no commit: .*--allow-dirty/);
    git(tree, 'add', '.');
    git(tree, 'commit', '-q', '-m', 'one');
    const commit = git(tree, 'rev-parse', 'HEAD').trim();
    await writeFile(join(tree, 'elsewhere.txt'), 'not in the folder');
    assert.equal((await build('0b1', from)).manifest.sourceCommit, commit);
    await writeFile(join(from, 'server.mjs'), 'changed');
    await writeFile(join(from, 'VERSION.txt'), '0b2\n');
    await refused(build('0b2', from), 'GIT_DIRTY', /"service\/server.mjs"/);
    const dirty = await build('0b2', from, { allowDirty: true });
    assert.equal(dirty.manifest.sourceCommit, `${commit}-dirty`);
  });

  test('is asked about in its own tree, whatever the environment says', async () => {
    const other = await writeTree(join(root, `tree-${count++}`), sampleSource('0b1'));
    git(other, 'init', '-q');
    process.env.GIT_DIR = join(other, '.git');
    try {
      assert.equal((await build('0b1', await source('0b1'))).manifest.sourceCommit, null);
    } finally {
      delete process.env.GIT_DIR;
    }
  });
});
