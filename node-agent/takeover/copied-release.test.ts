/**
 * A release that is made on the node: its modes are those that any service's user needs, and no staging
 * beside it disturbs it.
 */
import assert from 'node:assert/strict';
import { mkdtemp, realpath, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { openRepository } from '../../release/repository/fetch.js';
import { buildRelease } from '../../release/repository/publish.js';
import { stageRelease } from '../../release/repository/stage.js';
import { sampleSource, writeTree } from '../../release/sample-release.test.part.js';
import { treeDifferences } from '../../release/tree.js';
import { copiedManifest, copyRelease } from './copied-release.js';
import { folderFiles } from './folder-files.js';

let root = '';
before(async () => {
  root = await realpath(await mkdtemp(join(tmpdir(), 'plexi-copied-')));
});
after(() => rm(root, { recursive: true, force: true }));

test('it is made in turn with the staging of the same release', async () => {
  const more = Object.fromEntries(Array.from({ length: 40 }, (_, at) => [`a/${at}.txt`, `${at}`]));
  const directory = await writeTree(join(root, 'staged'), sampleSource('0b2', more));
  const repository = join(root, 'repository');
  const built = await buildRelease({ version: '0b2', from: directory, repository });
  const { signal } = new AbortController();
  const files = await folderFiles(directory, [], signal);
  const manifest = copiedManifest({
    ...{ version: '0b2', name: 'chat', directory, files, createdAt: new Date(0) },
    service: built.manifest.service,
  });
  const releasesDir = join(root, 'releases-of-both');
  const [staged, copied] = await Promise.all([
    stageRelease({
      ...{
        repository: openRepository(repository),
        version: '0b2',
        releasesDir,
        signal,
        os: 'any',
        arch: 'any',
      },
      ...{ manifestSha256: built.manifestSha256, artifactSha256: built.artifact.sha256 },
    }),
    copyRelease(releasesDir, manifest, files, signal),
  ]);
  assert.equal(copied, staged.folder);
  assert.deepEqual(await treeDifferences(join(releasesDir, copied), files), []);
});

test('its folders may be entered by every user, whatever the umask', async () => {
  const directory = await writeTree(join(root, 'program'), sampleSource('0b1', { 'a/b/c.txt': 'deep' }));
  const releasesDir = join(root, 'releases');
  const { signal } = new AbortController();
  const files = await folderFiles(directory, [], signal);
  const manifest = copiedManifest({
    ...{ version: '0b1', name: 'chat', directory, files, createdAt: new Date(0) },
    service: { start: ['node', 'server.mjs'], env: {}, stopSignal: 'SIGTERM' },
  });
  await writeTree(releasesDir, { 'a-file': '' });
  const umask = process.umask(0o077);
  try {
    const folder = join(releasesDir, await copyRelease(releasesDir, manifest, files, signal));
    assert.deepEqual(await treeDifferences(folder, files), []);
    for (const path of ['', 'a', 'a/b', 'bin'])
      assert.equal((await stat(join(folder, path))).mode & 0o777, 0o755, path);
  } finally {
    process.umask(umask);
  }
});
