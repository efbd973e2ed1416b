/**
 * The record of maintenance where the disk refuses it: what the agent says is what the next agent would read, and a
 * node that is held is out of service, whatever the disk and the hook say to that.
 */
import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { asPlainUser } from '../disk/plain-user.test.part.js';
import { Maintenance } from './maintenance.js';

let folder = '';
let file = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'plexi-maintenance-'));
  file = join(folder, 'maintenance.json');
});
afterEach(() => {
  chmodSync(folder, 0o700);
  rmSync(folder, { recursive: true, force: true });
});

const said = { reason: 'new disks', since: '2026-01-01T00:00:00.000Z' };
const withoutHooks = { withHooks: false, runHook: () => Promise.reject(new Error('there is none')) };

/** Hooks that are counted, and succeed or fail. */
function counted(exitCode: number) {
  const ran: string[] = [];
  const runHook = async (name: string) => {
    ran.push(name);
    const ended = { signal: null, timedOut: false, cancelled: false, leftRunning: false };
    return { exitCode, sentence: 'it ended', output: '', durationMs: 0, ...ended };
  };
  return { ran, run: { withHooks: true, runHook } };
}

describe('a record of maintenance', () => {
  test('that was not flushed counts as soon as the next agent would read it', () =>
    asPlainUser([folder], async () => {
      const maintenance = await Maintenance.open(file, {});
      // A folder that takes names, and cannot be opened to be flushed.
      chmodSync(folder, 0o300);
      await assert.rejects(maintenance.enter({ ...said, ...withoutHooks }), { code: 'EACCES' });
      assert.deepEqual(maintenance.current, said);
      assert.deepEqual((await Maintenance.open(file, {})).current, said);
    }));

  test('that was not flushed leaves its hook untold, until a hold tells it', () =>
    asPlainUser([folder], async () => {
      const maintenance = await Maintenance.open(file, { enter: ['enter'] });
      const { ran, run } = counted(0);
      chmodSync(folder, 0o300);
      await assert.rejects(maintenance.enter({ ...said, ...run }), { code: 'EACCES' });
      assert.deepEqual([maintenance.isEntering, ran], [true, []]);
      await maintenance.hold({ ...run, ...said, refused: () => undefined });
      assert.deepEqual([maintenance.isEntering, ran], [false, ['enter']]);
      chmodSync(folder, 0o700);
      await maintenance.enter({ ...said, ...run });
      assert.equal(maintenance.isEntering, false, 'one that came to its end is whole');
    }));

  test('that could not be written at all does not count', () =>
    asPlainUser([folder], async () => {
      const maintenance = await Maintenance.open(file, {});
      chmodSync(folder, 0o500);
      await assert.rejects(maintenance.enter({ ...said, ...withoutHooks }), { code: 'EACCES' });
      assert.equal(maintenance.current, undefined);
    }));

  test('that was removed and not flushed is put back by a hold, and the hook told', () =>
    asPlainUser([folder], async () => {
      const maintenance = await Maintenance.open(file, { enter: ['enter'], leave: ['leave'] });
      const { ran, run } = counted(0);
      await maintenance.enter({ ...said, ...run });
      chmodSync(folder, 0o300);
      await assert.rejects(maintenance.leave(run), { code: 'EACCES' });
      assert.deepEqual([maintenance.isLeaving, existsSync(file)], [true, false]);
      chmodSync(folder, 0o700);
      await maintenance.hold({
        ...run,
        reason: 'a job failed',
        since: '',
        refused: (thrown) => assert.fail(String(thrown)),
      });
      assert.deepEqual(ran, ['enter', 'leave', 'enter']);
      assert.equal(maintenance.isLeaving, false);
      assert.deepEqual((await Maintenance.open(file, {})).current, said, 'for the reason of before');
    }));

  test('that a hold cannot write leaves the node out as far as the agent lives', async () => {
    mkdirSync(join(folder, 'sub'));
    const maintenance = await Maintenance.open(join(folder, 'sub', 'maintenance.json'), { enter: ['enter'] });
    rmSync(join(folder, 'sub'), { recursive: true });
    const { run } = counted(1);
    const refused: unknown[] = [];
    await maintenance.hold({ ...run, ...said, refused: (thrown) => refused.push(thrown) });
    assert.deepEqual(maintenance.current, said);
    assert.match(String(refused[0]), /ENOENT/);
    assert.match(String(refused[1]), /enter hook failed/);
  });
});
