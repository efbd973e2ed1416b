/**
 * Builds of one version beside each other: none is lost, none changes what another one published, and a
 * builder that was killed keeps nobody waiting. Real folders and real processes.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import { sampleSource, sha256, writeTree } from '../sample-release.test.part.js';
import { whileLocked } from './build-lock.js';
import { openRepository } from './fetch.js';
import { type BuildOptions, buildRelease } from './publish.js';

let root = '';
let count = 0;
let repository = '';
const killed: ChildProcess[] = [];

before(async () => {
  root = await mkdtemp(join(tmpdir(), 'plexi-build-lock-'));
});
after(async () => {
  for (const child of killed) child.kill('SIGKILL');
  await rm(root, { recursive: true, force: true });
});
beforeEach(() => {
  repository = join(root, `repository-${count++}`);
});

function source(more: Record<string, string | Buffer> = {}): Promise<string> {
  return writeTree(join(root, `source-${count++}`), sampleSource('0b1', more));
}

function build(from: string, more: Partial<BuildOptions> = {}) {
  return buildRelease({ version: '0b1', from, repository, ...more });
}

function isConflict(sentence: RegExp): (thrown: unknown) => true {
  return (thrown) => {
    assert.ok(thrown instanceof PlexiError, String(thrown));
    assert.equal(thrown.code, 'CONFLICT', thrown.message);
    assert.match(thrown.message, sentence);
    return true;
  };
}

test('what a killed build has packed goes with a later one, and what is packed at this moment stays', async () => {
  const folder = join(repository, '0b1');
  const [left, packing] = ['.archive.0123456789ab.tmp', '.archive.ba9876543210.tmp'];
  await mkdir(folder, { recursive: true });
  for (const name of [left, packing]) await writeFile(join(folder, name), 'packed');
  const longAgo = new Date(Date.now() - limits.buildLeftMs - 60_000);
  await utimes(join(folder, left), longAgo, longAgo);
  await build(await source());
  const hidden = (await readdir(folder)).filter((name) => name.startsWith('.archive'));
  assert.deepEqual(hidden, [packing]);
});

describe('builds of one version beside each other', () => {
  test('for several platforms are all published', async () => {
    const from = await source();
    const platforms = ['linux/x64', 'linux/arm64', 'darwin/arm64', 'any/any'];
    const [first, ...others] = platforms.map((platform) => {
      const [os = '', arch = ''] = platform.split('/');
      return { platform: { os, arch } };
    });
    await build(from, first);
    await Promise.all(others.map((more) => build(from, more)));
    const { manifest, sha256: digest } = await openRepository(repository).manifest('0b1');
    assert.deepEqual(manifest.artifacts.map(({ os, arch }) => `${os}/${arch}`).sort(), platforms.sort());
    const [entry] = await openRepository(repository).list();
    assert.equal(entry?.manifestSha256, digest);
    const files = manifest.artifacts.map(({ file }) => file);
    assert.deepEqual((await readdir(join(repository, '0b1'))).sort(), [...files, 'manifest.json'].sort());
  });

  test('of different contents leave the one that was published first as it is', async () => {
    const small = await source();
    const large = await source({ 'noise.bin': randomBytes(2_000_000) });
    const ends = await Promise.allSettled([build(small), build(large)]);
    const won = ends.flatMap((end) => (end.status === 'fulfilled' ? [end.value] : []));
    const lost = ends.flatMap((end) => (end.status === 'rejected' ? [end.reason] : []));
    assert.equal(won.length, 1);
    isConflict(/0b1 is published already and never changes/)(lost[0]);
    const { manifest } = await openRepository(repository).manifest('0b1');
    const [artifact] = manifest.artifacts;
    assert.deepEqual(artifact, won[0]?.artifact);
    assert.equal(
      sha256(await readFile(join(repository, '0b1', 'chat-0b1-any-any.tar.gz'))),
      artifact?.sha256,
    );
  });

  test('of the same contents both succeed, and one finds it published', async () => {
    const both = await Promise.all([build(await source()), build(await source())]);
    assert.deepEqual(both.map(({ already }) => already).sort(), [false, true]);
  });

  test('refuses a platform whose archive would have the name of a published one', async () => {
    const from = await source();
    const { artifact } = await build(from, { platform: { os: 'linux-x64', arch: 'musl' } });
    const same = build(await source({ other: 'x' }), { platform: { os: 'linux', arch: 'x64-musl' } });
    await assert.rejects(same, { code: 'RELEASE_INVALID' });
    assert.equal(sha256(await readFile(join(repository, '0b1', artifact.file))), artifact.sha256);
  });
});

describe('the lock of a version', () => {
  let folder = '';
  let file = '';
  beforeEach(async () => {
    folder = join(repository, '0b1');
    await writeTree(folder, { 'a-file': '' });
    file = join(folder, '.build.lock');
  });

  /** A process that holds the lock; it is killed by the caller, or by the end of the tests. */
  async function holder(): Promise<ChildProcess> {
    const module = new URL('./build-lock.ts', import.meta.url).href;
    const code =
      `const { whileLocked } = await import(${JSON.stringify(module)});` +
      `await whileLocked(${JSON.stringify(folder)}, () => { console.log('held'); return new Promise(() => setInterval(() => {}, 1e6)); });`;
    const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', code], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    killed.push(child);
    assert.ok(child.stdout !== null);
    const [text] = await once(child.stdout, 'data');
    assert.match(String(text), /held/);
    return child;
  }

  test('is given to one after the other, and is gone after the last', async () => {
    let inside = 0;
    const works = Array.from({ length: 5 }, () =>
      whileLocked(folder, async () => {
        inside += 1;
        assert.equal(inside, 1);
        await readdir(folder);
        inside -= 1;
      }),
    );
    await Promise.all(works);
    assert.deepEqual(await readdir(folder), ['a-file']);
  });

  test('is given back by work that fails', async () => {
    await assert.rejects(
      whileLocked(folder, () => Promise.reject(new Error('no'))),
      /no/,
    );
    assert.deepEqual(await readdir(folder), ['a-file']);
  });

  test('of a living process is told with its id and its host, and what to do', async () => {
    const child = await holder();
    const work = whileLocked(folder, () => assert.fail('the lock was taken away'), 0);
    await assert.rejects(work, isConflict(new RegExp(`process ${child.pid} on .*\\.build\\.lock`)));
  });

  test('of a killed process is taken over, by one at a time', async () => {
    const child = await holder();
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
    let inside = 0;
    const work = async (): Promise<void> => {
      inside += 1;
      assert.equal(inside, 1);
      await readdir(folder);
      inside -= 1;
    };
    await Promise.all(Array.from({ length: 5 }, () => whileLocked(folder, work)));
    assert.deepEqual(await readdir(folder), ['a-file']);
  });

  test('of a process that was killed while it took one over is taken over too', async () => {
    const child = await holder();
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
    const dead = await readFile(file, 'utf8');
    const { id } = JSON.parse(dead) as { id: string };
    await writeFile(`${file}.${id}`, dead.replace(id, randomUUID()));
    assert.equal(await whileLocked(folder, async () => 'done'), 'done');
    assert.deepEqual(await readdir(folder), ['a-file']);
  });

  test('of another host is never taken over, and one that is unreadable neither', async () => {
    const child = await holder();
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
    const dead: Record<string, unknown> = JSON.parse(await readFile(file, 'utf8'));
    const fail = () => assert.fail('the lock was taken away');
    await writeFile(file, JSON.stringify({ ...dead, host: 'elsewhere' }));
    await assert.rejects(whileLocked(folder, fail, 0), isConflict(/on "elsewhere" .*remove .*\.build\.lock/));
    await writeFile(file, JSON.stringify({ ...dead, system: 'another boot' }));
    await assert.rejects(whileLocked(folder, fail, 0), isConflict(/remove .*\.build\.lock/));
    await writeFile(file, '');
    await assert.rejects(whileLocked(folder, fail, 0), isConflict(/cannot be read.*remove/));
  });

  test('keeps a build waiting, which goes on once it is given back', async () => {
    const from = await source();
    let giveBack: () => void = () => assert.fail('not held');
    const until = new Promise<void>((resolve) => {
      giveBack = resolve;
    });
    const held = whileLocked(folder, () => until);
    const built = build(from);
    const packed = async (): Promise<boolean> =>
      (await readdir(folder)).some((name) => name.startsWith('.archive.'));
    while (!(await packed())) await new Promise((resolve) => setImmediate(resolve));
    assert.equal((await readdir(folder)).includes('manifest.json'), false);
    giveBack();
    await held;
    assert.equal((await built).already, false);
  });
});
