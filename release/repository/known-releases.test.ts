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
import { KnownReleases } from './known-releases.js';

interface Release {
  readonly name: string;
  readonly start: string[];
}

let folder = '';
let reads = 0;
let known = new KnownReleases<Release>();
beforeEach(() => {
  known = new KnownReleases();
  folder = mkdtempSync(join(tmpdir(), 'plexi-known-'));
  reads = 0;
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const at = (name: string) => join(folder, name);

async function read(): Promise<Release> {
  reads += 1;
  return { name: `read ${reads}`, start: ['serve'] };
}

const ask = async (name = 'one') => (await known.get(at(`${name}.mark`), at(`${name}.json`), read))?.name;

/** Writes the files of releases, and waits until they count as settled: their time of change is the system's alone. */
async function settled(names: readonly string[], manifestBytes = 8): Promise<void> {
  for (const name of names) {
    writeFileSync(at(`${name}.mark`), 'mark');
    writeFileSync(at(`${name}.json`), Buffer.alloc(manifestBytes));
  }
  await untilSettled(names.flatMap((name) => [at(`${name}.mark`), at(`${name}.json`)]));
}

async function untilSettled(files: readonly string[]): Promise<void> {
  const youngestMs = Math.max(...files.map((file) => statSync(file).ctimeMs));
  while (Date.now() - youngestMs <= 110) await sleep(10);
}

test('a release is read once, and again when mark or manifest is another one', async () => {
  const modified = new Date('2024-12-19T12:00:00Z');
  await settled(['one']);
  utimesSync(at('one.json'), modified, modified);
  await untilSettled([at('one.json')]);
  assert.deepEqual([await ask(), await ask(), await ask()], ['read 1', 'read 1', 'read 1']);
  writeFileSync(at('one.json'), 'MANIFEST');
  utimesSync(at('one.json'), modified, modified);
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
  const failing = known.get(at('one.mark'), at('one.json'), () => Promise.reject(new Error('damaged')));
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
  const release = await known.get(at('one.mark'), at('one.json'), read);
  assert.throws(() => release?.start.push('--debug'), TypeError);
});
