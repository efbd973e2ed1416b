/**
 * A release that was read is not read again, and a change on the disk is seen at the next look, also one
 * that keeps size and time of modification.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { limits } from '../../config/limits.js';
import type { InstalledRelease } from './installed.js';
import { knownRelease } from './known-releases.js';

let folder = '';
let reads = 0;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'plexi-known-'));
  reads = 0;
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const at = (name: string) => join(folder, name);

async function read(): Promise<InstalledRelease> {
  reads += 1;
  const service = { start: ['serve'], env: {}, stopSignal: 'SIGTERM' };
  const manifest = { schema: 1, version: '1.0.0', service, migrations: [], tests: [], artifacts: [] };
  const digests = { treeDigest: 'a'.repeat(64), manifestSha256: 'b'.repeat(64) };
  return { folder: `read ${reads}`, version: '1.0.0', ...digests, manifest: Object.assign(Object(manifest)) };
}

const ask = async (name = 'one') =>
  (await knownRelease(at(`${name}.mark`), at(`${name}.json`), read))?.folder;

/** Writes the files of releases, and waits until they count as settled: their time of change is the system's alone. */
async function settled(names: readonly string[], manifestBytes = 8): Promise<void> {
  for (const name of names) {
    writeFileSync(at(`${name}.mark`), 'mark');
    writeFileSync(at(`${name}.json`), Buffer.alloc(manifestBytes));
  }
  const files = names.flatMap((name) => [at(`${name}.mark`), at(`${name}.json`)]);
  const youngestMs = Math.max(...files.map((file) => statSync(file).ctimeMs));
  while (Date.now() - youngestMs <= 110) await sleep(10);
}

test('a release is read once, and again when mark or manifest is another one', async () => {
  await settled(['one']);
  assert.deepEqual([await ask(), await ask(), await ask()], ['read 1', 'read 1', 'read 1']);
  const { atime, mtime } = statSync(at('one.json'));
  writeFileSync(at('one.json'), 'MANIFEST');
  utimesSync(at('one.json'), atime, mtime);
  assert.equal(await ask(), 'read 2');
  rmSync(at('one.mark'));
  assert.equal(await ask(), 'read 3');
});

test('what was changed a moment ago is read each time', async () => {
  writeFileSync(at('one.mark'), 'mark');
  writeFileSync(at('one.json'), 'manifest');
  assert.deepEqual([await ask(), await ask()], ['read 1', 'read 2']);
});

test('what could not be read is not kept', async () => {
  await settled(['one']);
  const failing = knownRelease(at('one.mark'), at('one.json'), () => Promise.reject(new Error('damaged')));
  await assert.rejects(failing, /damaged/);
  assert.equal(await ask(), 'read 1');
});

test('the ones not asked for longest are forgotten beyond the bound', async () => {
  await settled(['one', 'two', 'three'], limits.knownManifestsBytes * 0.4);
  assert.deepEqual([await ask('one'), await ask('two')], ['read 1', 'read 2']);
  assert.deepEqual([await ask('one'), await ask('three')], ['read 1', 'read 3']);
  assert.deepEqual([await ask('one'), await ask('three'), await ask('two')], ['read 1', 'read 3', 'read 4']);
});

test('nobody can change what all share', async () => {
  await settled(['one']);
  const release = await knownRelease(at('one.mark'), at('one.json'), read);
  assert.throws(() => release?.manifest.service.start.push('--debug'), TypeError);
});
