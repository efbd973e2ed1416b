/** A folder against its manifest: equal, and each way to differ, links and special files included. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmod, mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import type { ReleaseFile } from './manifest-shape.js';
import { sha256, writeTree } from './sample-release.test.part.js';
import { treeDifferences } from './tree.js';

const contents = { 'bin/serve': '#!/bin/sh\n', 'a/b/c.txt': 'deep', 'empty.txt': '' };
const files: ReleaseFile[] = Object.entries(contents).map(([path, text]) => ({
  ...{ path, sizeBytes: text.length, sha256: sha256(text) },
  mode: path.startsWith('bin/') ? 0o755 : 0o644,
}));

describe('a tree on disk', () => {
  let root = '';
  let folder = '';
  let count = 0;
  before(async () => {
    root = await mkdtemp(join(tmpdir(), 'plexi-tree-'));
  });
  after(() => rm(root, { recursive: true, force: true }));
  beforeEach(async () => {
    folder = await writeTree(join(root, String(count++)), contents);
  });

  test('is equal to its own manifest, its mark of completeness aside', async () => {
    await writeFile(join(folder, '.complete'), '{}');
    assert.deepEqual(await treeDifferences(folder, files), []);
  });

  const changes: [what: string, change: () => Promise<unknown>, expected: string[]][] = [
    ['a missing file', () => rm(join(folder, 'a/b/c.txt')), ['a/b/c.txt: is missing']],
    ['a missing folder', () => rm(join(folder, 'a'), { recursive: true }), ['a/b/c.txt: is missing']],
    ['an extra file', () => writeFile(join(folder, 'a/extra'), ''), ['a/extra: is not part of the release']],
    ['an extra folder', () => mkdir(join(folder, 'extra')), ['extra: is not part of the release']],
    [
      'a mark that is deeper',
      () => writeFile(join(folder, 'a/.complete'), ''),
      ['a/.complete: is not part of the release'],
    ],
    ['other contents', () => writeFile(join(folder, 'a/b/c.txt'), 'DEEP'), ['a/b/c.txt: has other contents']],
    [
      'a zero-filled file',
      () => writeFile(join(folder, 'a/b/c.txt'), Buffer.alloc(4)),
      ['a/b/c.txt: has other contents'],
    ],
    [
      'another size',
      () => writeFile(join(folder, 'empty.txt'), 'x'),
      ['empty.txt: has 1 bytes instead of 0'],
    ],
    [
      'another mode',
      () => chmod(join(folder, 'bin/serve'), 0o644),
      ['bin/serve: has mode 0644 instead of 0755'],
    ],
    [
      'a setuid bit',
      () => chmod(join(folder, 'bin/serve'), 0o4755),
      ['bin/serve: has mode 4755 instead of 0755'],
    ],
    [
      'a link to the same contents',
      async () => {
        await rename(join(folder, 'bin/serve'), join(root, `moved-${count}`));
        await symlink(join(root, `moved-${count}`), join(folder, 'bin/serve'));
      },
      ['bin/serve: is not a regular file'],
    ],
    [
      'a folder that became a link',
      async () => {
        await rename(join(folder, 'a'), join(root, `folder-${count}`));
        await symlink(join(root, `folder-${count}`), join(folder, 'a'));
      },
      ['a: is not part of the release', 'a/b/c.txt: is missing'],
    ],
    [
      'a named pipe',
      async () => {
        await rm(join(folder, 'empty.txt'));
        execFileSync('mkfifo', [join(folder, 'empty.txt')]);
      },
      ['empty.txt: is not a regular file'],
    ],
    [
      "a folder in a file's place",
      async () => {
        await rm(join(folder, 'empty.txt'));
        await mkdir(join(folder, 'empty.txt'));
      },
      ['empty.txt: is not a regular file'],
    ],
  ];
  for (const [what, change, expected] of changes) {
    test(`differs by ${what}`, async () => {
      await change();
      assert.deepEqual(await treeDifferences(folder, files), expected);
    });
  }

  test('that is missing, or whose signal is aborted, is an error', async () => {
    await assert.rejects(treeDifferences(join(root, 'nothing'), files), { code: 'ENOENT' });
    await assert.rejects(treeDifferences(folder, files, AbortSignal.abort(new Error('stop'))), /stop/);
  });
});
