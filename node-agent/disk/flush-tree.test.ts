/**
 * Which paths are flushed, as strace sees it. That the bytes are there after a power cut is shown by
 * test/crash/power-cut.test.ts.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { loader } from '../../test/loader.test.part.js';
import { flushTree } from './flush-tree.js';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'plexi-flush-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe('a tree that others have written', () => {
  test('is flushed file by file and folder by folder, and so is a file by itself; links and pipes are passed over', (t) => {
    if (spawnSync('strace', ['-V']).error !== undefined) return t.skip('strace is not installed');
    mkdirSync(join(folder, 'data', 'sub'), { recursive: true });
    for (const name of ['one', 'sub/two']) writeFileSync(join(folder, 'data', name), name);
    for (const name of ['elsewhere', 'alone']) writeFileSync(join(folder, name), '');
    symlinkSync('../elsewhere', join(folder, 'data', 'link'));
    execFileSync('mkfifo', [join(folder, 'data', 'pipe')]);
    const program = `const { flushTree } = await import('${new URL('./flush-tree.ts', import.meta.url).href}');
      for (const name of ['data', 'alone', 'absent']) await flushTree('${folder}/' + name);`;
    const log = join(folder, 'log');
    const words = ['-f', '-y', '-qq', '-e', 'trace=fsync', '-o', log, process.execPath];
    const node = [...loader, '--input-type=module', '-e', program];
    const result = spawnSync('strace', [...words, ...node], { encoding: 'utf8' });
    assert.equal(result.status, 0, result.stderr);
    const flushed = [...readFileSync(log, 'utf8').matchAll(/fsync\(\d+<([^>]+)>/g)].map(([, path]) => path);
    const expected = ['', 'alone', 'data', 'data/one', 'data/sub', 'data/sub/two'].map((path) =>
      join(folder, path),
    );
    assert.deepEqual(flushed.toSorted(), expected);
  });

  test('an absent path is no error; one that cannot be looked at is', async () => {
    await flushTree(join(folder, 'absent'));
    writeFileSync(join(folder, 'file'), '');
    await assert.rejects(flushTree(join(folder, 'file', 'below')), { code: 'ENOTDIR' });
  });
});
