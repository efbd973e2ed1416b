/** Files for one boot: whole for every reader, and told from those of an earlier boot. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, utimesSync } from 'node:fs';
import { tmpdir, uptime } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { bootedAtMs, isOfEarlierBoot, removeForThisBoot, writeForThisBoot } from './boot-file.js';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'plexi-boot-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));
const at = (name: string) => join(folder, name);

test('a file is made, replaced and removed, private and without another name', () => {
  writeForThisBoot(at('a'), 'one');
  writeForThisBoot(at('a'), 'two');
  assert.equal(readFileSync(at('a'), 'utf8'), 'two');
  assert.equal(statSync(at('a')).mode & 0o777, 0o600);
  assert.deepEqual(readdirSync(folder), ['a']);
  assert.equal(removeForThisBoot(at('a')), true);
  assert.equal(removeForThisBoot(at('a')), false);
});

test('what cannot get its name, or is no file, is told, and the folder is as it was', () => {
  mkdirSync(at('taken'));
  assert.throws(() => writeForThisBoot(at('taken'), 'x'), { code: 'EISDIR' });
  assert.throws(() => removeForThisBoot(at('taken')), /EISDIR|EPERM/);
  assert.throws(() => writeForThisBoot(join(at('absent'), 'a'), 'x'), { code: 'ENOENT' });
  assert.deepEqual(readdirSync(folder), ['taken']);
});

test('a file is of an earlier boot when it was written before the machine was started', () => {
  assert.equal(isOfEarlierBoot(at('absent')), false);
  writeForThisBoot(at('a'), 'x');
  assert.equal(isOfEarlierBoot(at('a')), false);
  const before = bootedAtMs() / 1_000 - 1;
  utimesSync(at('a'), before, before);
  assert.equal(isOfEarlierBoot(at('a')), true);
});

test('the machine was started as long ago as the system says that it runs', () => {
  assert.ok(Math.abs(Date.now() - uptime() * 1_000 - bootedAtMs()) < 60_000);
});
