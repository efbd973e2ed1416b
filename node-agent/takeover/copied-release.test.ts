/** A release that is copied from a folder can be run by another user than the agent, whatever the agent's umask. */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, realpath, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { copiedManifest, copyRelease } from './copied-release.js';
import { folderFiles } from './folder-files.js';

const never = new AbortController().signal;
const umaskBefore = process.umask(0o077);
let folder = '';
before(async () => {
  folder = await realpath(await mkdtemp(join(tmpdir(), 'plexi-copied-')));
});
after(async () => {
  process.umask(umaskBefore);
  await rm(folder, { recursive: true, force: true });
});

test('the folders of a copied release are open to other users under a narrow umask', async () => {
  const directory = join(folder, 'chat');
  await mkdir(join(directory, 'bin', 'deep'), { recursive: true });
  await writeFile(join(directory, 'bin', 'deep', 'serve'), '#!/bin/sh\n', { mode: 0o755 });
  const releases = join(folder, 'releases');
  await mkdir(releases);
  const files = await folderFiles(directory, [], never);
  const manifest = copiedManifest({
    version: '3.0.0',
    name: 'chat',
    directory,
    service: { start: ['bin/deep/serve'], stopSignal: 'SIGTERM', env: {} },
    files,
    createdAt: new Date(0),
  });
  const copied = join(releases, await copyRelease(releases, manifest, files, never));
  for (const path of ['.', 'bin', 'bin/deep'])
    assert.equal((await stat(join(copied, path))).mode & 0o7777, 0o755, path);
});
