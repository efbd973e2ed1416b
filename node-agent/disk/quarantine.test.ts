/** The quarantine: what is set aside is kept, whatever it is, and nothing in it is ever overwritten. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { setAside } from './quarantine.js';

let folder = '';
let quarantine = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'plexi-quarantine-'));
  quarantine = join(folder, 'quarantine');
  mkdirSync(quarantine);
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));
const at = (name: string) => join(folder, name);
const noon = new Date(Date.UTC(2024, 11, 19, 12, 0, 0, 123));

test('a file is kept under a name that tells when, and stays until it is replaced', async () => {
  writeFileSync(at('fence.json'), 'torn');
  assert.equal(await setAside(quarantine, at('fence.json'), noon), '20241219T120000Z-fence.json');
  writeFileSync(at('other'), 'new');
  assert.equal(readFileSync(at('fence.json'), 'utf8'), 'torn');
  assert.equal(readFileSync(join(quarantine, '20241219T120000Z-fence.json'), 'utf8'), 'torn');
});

test('a folder is moved, with all that is in it', async () => {
  mkdirSync(at('journal'));
  writeFileSync(join(at('journal'), '1.json'), 'x');
  assert.equal(await setAside(quarantine, at('journal'), noon), '20241219T120000Z-journal');
  assert.deepEqual(readdirSync(folder), ['quarantine']);
  assert.deepEqual(readdirSync(join(quarantine, '20241219T120000Z-journal')), ['1.json']);
});

test('what is set aside in the same second gets a number, and overwrites nothing', async () => {
  const names: (string | undefined)[] = [];
  for (const content of ['one', 'two', 'three']) {
    writeFileSync(at('fence.json'), content);
    names.push(await setAside(quarantine, at('fence.json'), noon));
    rmSync(at('fence.json'));
  }
  assert.deepEqual(
    names,
    ['', '-2', '-3'].map((copy) => `20241219T120000Z-fence.json${copy}`),
  );
  assert.deepEqual(
    names.map((name) => readFileSync(join(quarantine, name ?? ''), 'utf8')),
    ['one', 'two', 'three'],
  );
});

test('nothing is no error; what cannot be looked at is, and so is a quarantine that is none', async () => {
  assert.equal(await setAside(quarantine, at('absent'), noon), undefined);
  writeFileSync(at('file'), '');
  await assert.rejects(setAside(quarantine, join(at('file'), 'below'), noon), { code: 'ENOTDIR' });
  await assert.rejects(setAside(at('file'), at('file'), noon), { code: 'ENOTDIR' });
  assert.deepEqual(readdirSync(quarantine), []);
});
