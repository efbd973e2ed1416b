/** A release that is made on the node has the modes that any service's user needs, whatever the agent's umask. */
import assert from 'node:assert/strict';
import { mkdtemp, realpath, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { sampleSource, writeTree } from '../../release/sample-release.test.part.js';
import { treeDifferences } from '../../release/tree.js';
import { copiedManifest, copyRelease } from './copied-release.js';
import { folderFiles } from './folder-files.js';

let root = '';
before(async () => {
  root = await realpath(await mkdtemp(join(tmpdir(), 'plexi-copied-')));
});
after(() => rm(root, { recursive: true, force: true }));

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
