/**
 * Staging as a node does it, from folders and over real http: the release arrives whole or not at
 * all, broken connections are taken up again, wrong bytes never are, and what was left by a crash at
 * any point is finished or removed.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import {
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import { printManifest } from '../manifest.js';
import { sampleSource, sha256, writeTree } from '../sample-release.test.part.js';
import { treeDifferences } from '../tree.js';
import { openRepository, type ReleaseRepository } from './fetch.js';
import { folderToRun } from './place.js';
import { type BuiltRelease, buildRelease } from './publish.js';
import {
  type Answer,
  cutAfter,
  cutBehindEnd,
  endAfter,
  rangeless,
  serveFolder,
  status,
  type TestServer,
} from './server.test.part.js';
import { installedRelease, type StageOptions, stageRelease } from './stage.js';

let root = '';
let published = '';
let built: BuiltRelease;
let repository = '';
let node = '';
let releasesDir = '';
let folder = '';
let count = 0;

before(async () => {
  root = await mkdtemp(join(tmpdir(), 'plexi-stage-'));
  published = join(root, 'published');
  const more = { 'noise.bin': randomBytes(300_000), 'a/b/c.txt': 'deep' };
  const from = await writeTree(join(root, 'source'), sampleSource('1a1+2', more));
  built = await buildRelease({ version: '1a1+2', from, repository: published });
  folder = `1a1+2-${built.artifact.treeDigest.slice(0, 12)}`;
});
after(() => rm(root, { recursive: true, force: true }));
beforeEach(async () => {
  node = join(root, `node-${count}`);
  releasesDir = join(node, 'releases');
  repository = join(root, `repository-${count++}`);
  await writeTree(join(repository, '1a1+2'), {
    'manifest.json': await readFile(join(published, '1a1+2/manifest.json')),
    [built.artifact.file]: await readFile(join(published, '1a1+2', built.artifact.file)),
  });
  await writeTree(repository, { 'index.json': await readFile(join(published, 'index.json')) });
});

function options(from: ReleaseRepository, more: Partial<StageOptions> = {}): StageOptions {
  return {
    ...{
      repository: from,
      version: '1a1+2',
      manifestSha256: built.manifestSha256,
      artifactSha256: built.artifact.sha256,
    },
    ...{ releasesDir, os: 'linux', arch: 'x64', signal: new AbortController().signal },
    ...more,
  };
}

function stage(from: string | ReleaseRepository, more: Partial<StageOptions> = {}) {
  return stageRelease(options(typeof from === 'string' ? openRepository(from) : from, more));
}

async function refused(work: Promise<unknown>, code: string | RegExp, sentence: RegExp): Promise<void> {
  await assert.rejects(work, (thrown) => {
    assert.ok(thrown instanceof PlexiError, String(thrown));
    if (typeof code === 'string') assert.equal(thrown.code, code, thrown.message);
    else assert.match(thrown.code, code, thrown.message);
    assert.match(thrown.message, sentence);
    return true;
  });
}

async function assertStaged(): Promise<void> {
  assert.deepEqual(await treeDifferences(join(releasesDir, folder), built.artifact.files), []);
  const mark: unknown = JSON.parse(await readFile(join(releasesDir, folder, '.complete'), 'utf8'));
  const { treeDigest } = built.artifact;
  assert.deepEqual(mark, { version: '1a1+2', treeDigest, manifestSha256: built.manifestSha256 });
  const manifest = await readFile(join(releasesDir, `${folder}.manifest.json`));
  assert.equal(sha256(manifest), built.manifestSha256);
  assert.deepEqual((await readdir(releasesDir)).sort(), [folder, `${folder}.manifest.json`]);
}

/** After a refusal there is nothing of the release, not even a staging folder. */
async function assertNothing(): Promise<void> {
  const left = await readdir(releasesDir).catch(() => []);
  assert.deepEqual(left, []);
  assert.equal(await installedRelease(releasesDir, folder), undefined);
}

describe('staging from a folder', () => {
  test('makes a complete release, and finds it complete the second time', async () => {
    const percents: number[] = [];
    const staged = await stage(repository, { onProgress: (percent) => percents.push(percent) });
    assert.deepEqual(staged, {
      folder,
      treeDigest: built.artifact.treeDigest,
      manifest: built.manifest,
      already: false,
    });
    await assertStaged();
    assert.equal(percents[0], 0);
    assert.equal(percents.at(-1), 100);
    assert.deepEqual(
      percents,
      [...new Set(percents)].sort((a, b) => a - b),
    );
    assert.deepEqual(await stage(repository), { ...staged, already: true });
    const installed = await installedRelease(releasesDir, folder);
    assert.deepEqual(installed?.manifest, built.manifest);
    assert.equal(installed?.folder, folder);
  });

  test('asked for twice at once, the second waits for the first and finds it complete', async () => {
    const both = await Promise.all([stage(repository), stage(repository)]);
    assert.deepEqual(
      both.map(({ already }) => already),
      [false, true],
    );
  });

  test('gives up its turn when it is aborted, and the first goes on', async () => {
    const first = stage(repository);
    const abort = new AbortController();
    const second = stage(repository, { signal: abort.signal });
    abort.abort(new PlexiError('CANCELLED', 'nobody needs it'));
    await assert.rejects(second);
    assert.equal((await first).already, false);
  });

  test('needs no repository for what is complete already', async () => {
    await stage(repository);
    await rm(repository, { recursive: true });
    assert.equal((await stage(repository)).already, true);
  });

  test('finishes or removes whatever a crash left', async () => {
    const leftovers: (() => Promise<unknown>)[] = [
      () => writeTree(join(releasesDir, `.staging-${folder}`), { 'server.mjs': 'half' }),
      async () => {
        await rm(releasesDir, { recursive: true });
        await writeTree(join(releasesDir, folder), { 'server.mjs': 'half' });
      },
      () => rm(join(releasesDir, folder, '.complete')),
      () => truncate(join(releasesDir, folder, '.complete'), 0),
      () => writeFile(join(releasesDir, folder, '.complete'), Buffer.alloc(200)),
      () => rm(join(releasesDir, `${folder}.manifest.json`)),
      () => writeFile(join(releasesDir, `${folder}.manifest.json`), Buffer.alloc(100)),
    ];
    for (const leave of leftovers) {
      await leave();
      assert.equal((await stage(repository)).already, false);
      await assertStaged();
      assert.equal((await stage(repository)).already, true);
    }
  });

  test('refuses a complete release that was changed on the disk, and leaves it alone', async () => {
    await stage(repository);
    await writeFile(join(releasesDir, folder, 'server.mjs'), 'changed by hand');
    await refused(stage(repository), 'RELEASE_DIGEST_MISMATCH', /server.mjs: has 15 bytes/);
    assert.equal(await readFile(join(releasesDir, folder, 'server.mjs'), 'utf8'), 'changed by hand');
  });

  test('never removes what a link of the node points at', async () => {
    await writeTree(join(releasesDir, folder), { 'server.mjs': 'runs' });
    for (const link of ['current', 'previous', 'trial']) {
      await symlink(`releases/${folder}`, join(node, link));
      await refused(stage(repository), 'RELEASE_DIGEST_MISMATCH', /is not what its manifest says/);
      await rm(join(node, link));
    }
    assert.equal((await stage(repository)).already, false);
    await assertStaged();
  });

  test('staged anew leaves what was changed on the disk, and makes a whole copy beside it', async () => {
    const anew = { anew: true };
    assert.equal((await stage(repository, anew)).folder, folder);
    assert.deepEqual((await stage(repository, anew)).already, true);
    for (const [copy, before] of [
      [`${folder}-2`, folder],
      [`${folder}-3`, `${folder}-2`],
    ] as const) {
      await writeFile(join(releasesDir, before, 'server.mjs'), 'changed by hand');
      const staged = await stage(repository, anew);
      assert.deepEqual([staged.folder, staged.already], [copy, false]);
      assert.deepEqual(await treeDifferences(join(releasesDir, copy), built.artifact.files), []);
      assert.equal(await readFile(join(releasesDir, before, 'server.mjs'), 'utf8'), 'changed by hand');
      assert.equal(await folderToRun(releasesDir, '1a1+2', built.artifact.treeDigest), copy);
    }
    // What was put right stays in use without being asked for, and without the repository.
    await rm(repository, { recursive: true });
    assert.equal((await stage(repository)).folder, `${folder}-3`);
    await writeFile(join(releasesDir, `${folder}-3`, 'server.mjs'), 'changed by hand');
    await refused(stage(repository), 'RELEASE_DIGEST_MISMATCH', /-3 is not what its manifest says/);
  });

  test('staged anew beside what runs and lacks its mark', async () => {
    await writeTree(join(releasesDir, folder), { 'server.mjs': 'runs' });
    await symlink(`releases/${folder}`, join(node, 'current'));
    assert.equal((await stage(repository, { anew: true })).folder, `${folder}-2`);
    assert.equal(await readFile(join(releasesDir, folder, 'server.mjs'), 'utf8'), 'runs');
  });

  test('refuses what is not what was planned', async () => {
    const other = sha256('other');
    await refused(stage(repository, { manifestSha256: other }), 'RELEASE_DIGEST_MISMATCH', /was planned/);
    await refused(stage(repository, { artifactSha256: other }), 'RELEASE_DIGEST_MISMATCH', /make a new plan/);
    await refused(
      stage(repository, { version: '1a2' }),
      'RELEASE_NOT_FOUND',
      /1a2 is not in the release repository/,
    );
    await refused(stage(repository, { version: '../../x' }), 'RELEASE_NOT_FOUND', /cannot be the version/);
    await rename(join(repository, '1a1+2'), join(repository, '1a9'));
    await refused(stage(repository, { version: '1a9' }), 'RELEASE_INVALID', /says it is 1a1\+2/);
    await assertNothing();
  });

  test('refuses a platform that there is no archive for', async () => {
    const manifest = { ...built.manifest, artifacts: [{ ...built.artifact, os: 'win32' }] };
    const bytes = printManifest(manifest);
    await writeFile(join(repository, '1a1+2/manifest.json'), bytes);
    await refused(
      stage(repository, { manifestSha256: sha256(bytes) }),
      'RELEASE_NOT_FOUND',
      /no archive for linux\/x64/,
    );
  });

  test('refuses an archive that was changed, cut or made longer', async () => {
    const file = join(repository, '1a1+2', built.artifact.file);
    const honest = await readFile(file);
    const flipped = Buffer.from(honest);
    flipped[honest.length - 5] = (flipped[honest.length - 5] ?? 0) ^ 1;
    await writeFile(file, flipped);
    // Its last bytes reach the unpacking and the digest together; whichever sees the damage first says so.
    await refused(
      stage(repository),
      /^(ARCHIVE_REFUSED|RELEASE_DIGEST_MISMATCH)$/,
      /no intact gzip stream|has SHA-256/,
    );
    await writeFile(file, Buffer.concat([honest, Buffer.from('more')]));
    await refused(stage(repository), 'RELEASE_DIGEST_MISMATCH', /more than the \d+ bytes/);
    await writeFile(file, honest.subarray(0, 1000));
    await refused(stage(repository), 'DOWNLOAD_FAILED', /broke off after 1000 of/);
    await rm(file);
    await refused(stage(repository), 'RELEASE_NOT_FOUND', /is missing; publish 1a1\+2 again/);
    await mkdir(file);
    await refused(stage(repository), 'RELEASE_INVALID', /not a regular file/);
    await assertNothing();
  });

  test('refuses another archive of the same length that unpacks well, by its digest', async () => {
    const file = join(repository, '1a1+2', built.artifact.file);
    const other = Buffer.from(await readFile(file));
    // Byte 9 of a gzip header names the operating system; it changes the file and not its contents.
    other[9] = 7;
    await writeFile(file, other);
    await refused(stage(repository), 'RELEASE_DIGEST_MISMATCH', /has SHA-256 [0-9a-f]{64} instead of/);
    await assertNothing();
  });

  test('stops with the reason of its signal', async () => {
    const stop = new AbortController();
    const reason = new PlexiError('TIMED_OUT', 'The step took too long.');
    const work = stage(repository, { signal: stop.signal, onProgress: () => stop.abort(reason) });
    await refused(work, 'TIMED_OUT', /took too long/);
    await refused(stage(repository, { signal: AbortSignal.abort() }), 'CANCELLED', /can be done again/);
    await assertNothing();
  });

  test('says what the disk refused', async () => {
    await mkdir(node, { recursive: true });
    await writeFile(releasesDir, 'a file in the place of the folder');
    await refused(stage(repository), 'STAGE_FAILED', /1a1\+2 could not be staged in .*(ENOTDIR|EEXIST)/);
  });
});

describe('staging over http', () => {
  let server: TestServer;
  beforeEach(async () => {
    server = await serveFolder(repository);
  });
  afterEach(() => server.close());
  const archives = (): string[] => server.asked.filter((path) => path.includes('.tar.gz'));

  async function assertStagesWith(answers: Answer[], requests: number): Promise<void> {
    server.archiveAnswers.push(...answers);
    assert.equal((await stage(server.url)).already, false);
    await assertStaged();
    assert.equal(archives().length, requests);
  }

  test('works, with the "+" of a version encoded', async () => {
    await assertStagesWith([], 1);
    assert.deepEqual(server.asked, ['/1a1%2B2/manifest.json', '/1a1%2B2/chat-1a1%2B2-any-any.tar.gz']);
    assert.equal((await openRepository(`${server.url}/`).list())[0]?.version, '1a1+2');
  });

  test('survives a server that fails twice and then works', () =>
    assertStagesWith([status(503), status(500)], 3));

  test('takes a cut connection up at the byte where it broke', async () => {
    await assertStagesWith([cutAfter(100_000), cutAfter(200_000)], 3);
    assert.match(archives()[1] ?? '', / bytes=[1-9]\d*-$/);
  });

  test('takes it up with a server that knows no ranges', () =>
    assertStagesWith([cutAfter(100_000), rangeless], 2));

  test('asks for nothing more when it is cut behind the last byte', () =>
    assertStagesWith([cutBehindEnd], 1));

  test('takes up an answer that ended early in good order', () => assertStagesWith([endAfter(50_000)], 2));

  test('gives up on a body that is always cut at the same byte', async () => {
    server.archiveAnswers.push(...Array.from({ length: limits.downloadTries + 1 }, () => cutAfter(1000)));
    await refused(stage(server.url), 'DOWNLOAD_FAILED', /could not be read to its end|broke/);
    assert.ok(archives().length <= limits.downloadTries + 1, String(archives().length));
    await assertNothing();
  });

  test('gives up on a server that only fails', async () => {
    server.archiveAnswers.push(...Array.from({ length: 9 }, () => status(502)));
    await refused(stage(server.url), 'DOWNLOAD_FAILED', /answered 502/);
    assert.equal(archives().length, limits.downloadTries);
    await assertNothing();
  });

  test('never asks twice for a wrong body', async () => {
    const wrong: Answer = (response, bytes) =>
      void response.writeHead(200).end(Buffer.alloc(bytes.length, 'x'));
    const page: Answer = (response) => void response.writeHead(200, { 'content-length': 5 }).end('oops!');
    server.archiveAnswers.push(wrong, page);
    await refused(stage(server.url), 'ARCHIVE_REFUSED', /no intact gzip stream/);
    await refused(stage(server.url), 'RELEASE_DIGEST_MISMATCH', /has 5 bytes instead of/);
    assert.equal(archives().length, 2);
    await assertNothing();
  });

  test('never asks twice for what is not there', async () => {
    await rm(join(repository, '1a1+2', built.artifact.file));
    await refused(stage(server.url), 'RELEASE_NOT_FOUND', /answered 404/);
    await refused(
      stage(server.url, { version: '9a9' }),
      'RELEASE_NOT_FOUND',
      /9a9\/manifest.json answered 404/,
    );
    assert.equal(archives().length, 1);
  });

  test('refuses a body that is longer than its manifest says', async () => {
    const long: Answer = (response, bytes) =>
      void response.writeHead(200).end(Buffer.concat([bytes, Buffer.alloc(9)]));
    server.archiveAnswers.push(long);
    await refused(stage(server.url), 'RELEASE_DIGEST_MISMATCH', /more than the \d+ bytes/);
  });

  test('refuses an encoded body, and another part than it asked for', async () => {
    const encoded: Answer = (response, bytes) =>
      void response.writeHead(200, { 'content-encoding': 'gzip' }).end(bytes);
    server.archiveAnswers.push(encoded);
    await refused(stage(server.url), 'RELEASE_DIGEST_MISMATCH', /Content-Encoding/);
    const part: Answer = (response, bytes) =>
      void response.writeHead(206, { 'content-range': 'bytes 5-9/10' }).end(bytes.subarray(5));
    server.archiveAnswers.push(part, part, part);
    await refused(stage(server.url), 'DOWNLOAD_FAILED', /another part/);
  });

  test('gives back the connection of an answer that it refuses', async () => {
    const refusals: [headers: Record<string, string>, code: string][] = [
      [{ 'content-length': '1000000' }, 'RELEASE_DIGEST_MISMATCH'],
      [{ 'content-encoding': 'gzip' }, 'RELEASE_DIGEST_MISMATCH'],
    ];
    for (const [headers, code] of refusals) {
      let isClosed = false;
      server.archiveAnswers.push((response, bytes) => {
        response.on('close', () => {
          isClosed = true;
        });
        response.writeHead(200, headers).write(bytes);
      });
      await refused(stage(server.url), code, /bytes instead of|Content-Encoding/);
      // The server hears of it long before it has answered these; a collection of garbage comes later.
      for (let call = 0; call < 10; call++) await openRepository(server.url).list();
      assert.ok(isClosed, code);
    }
  });

  test('follows a few redirects, and none that leads away from http(s)', async () => {
    const path = `/1a1%2B2/${encodeURIComponent(built.artifact.file)}`;
    const there = status(302, { location: path });
    await assertStagesWith([there, there], 3);
    await rm(node, { recursive: true });
    server.archiveAnswers.push(...Array.from({ length: 9 }, () => there));
    await refused(stage(server.url), 'RELEASE_NOT_FOUND', /redirects more than/);
    server.archiveAnswers.length = 0;
    for (const location of [
      'file:///etc/passwd',
      'ftp://127.0.0.1/',
      'http://user:secret@127.0.0.1/x',
      'http://',
    ]) {
      server.archiveAnswers.push(status(302, { location }));
      await refused(stage(server.url), 'RELEASE_NOT_FOUND', /may not be followed/);
    }
  });

  test('stops a stalled download when its signal is aborted', async () => {
    const stop = new AbortController();
    server.archiveAnswers.push((response, bytes) => {
      response.writeHead(200, { 'content-length': bytes.length });
      response.write(bytes.subarray(0, 2000), () => stop.abort());
    });
    await refused(stage(server.url, { signal: stop.signal }), 'CANCELLED', /was stopped/);
    await assertNothing();
  });

  test('says that nobody listens, and what is wrong with a URL', async () => {
    await server.close();
    await refused(openRepository(server.url).list(), 'DOWNLOAD_FAILED', /ECONNREFUSED/);
    for (const url of ['http://user:pw@127.0.0.1/', 'http://127.0.0.1/?a=b', 'http://', 'ftp://127.0.0.1/']) {
      assert.throws(() => openRepository(url), { code: 'CONFIG_INVALID' });
    }
    server = await serveFolder(repository);
  });

  test('refuses an index and a manifest that are none', async () => {
    await writeFile(join(repository, 'index.json'), '{"schema":1,"versions":[{"version":"../x"}]}');
    await refused(
      openRepository(server.url).list(),
      'RELEASE_INVALID',
      /not the index of a release repository/,
    );
    await writeFile(join(repository, '1a1+2/manifest.json'), 'x'.repeat(limits.manifestBytes + 1));
    await refused(stage(server.url), 'LIMIT_EXCEEDED', /more than \d+ bytes/);
    await refused(stage(repository), 'LIMIT_EXCEEDED', /more than \d+ bytes/);
  });
});
