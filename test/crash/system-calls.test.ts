/**
 * An agent that dies, or meets an error of the disk, at a system call of its own: a sample of the points.
 * Every one of them is tried by test/deep/system-calls.test.ts.
 */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { errorsOf, inputError, kill, recoveries, staysFull, upgrade, wayBack } from './missions.test.part.js';
import { assertAllPassed, sampleOf, tryAll } from './spread.test.part.js';
import { whyNoStrace } from './strace.test.part.js';
import { type Mission, recordsOf, SystemCallTries } from './system-calls.test.part.js';

const why = whyNoStrace();

describe('an agent at a system call', { skip: why ?? false }, () => {
  let tries: SystemCallTries;
  before(async () => {
    tries = await SystemCallTries.create();
  });
  after(() => tries?.bench.remove());

  /** Kills at `kills` points of a mission, and errors at `errors`. */
  async function sampled(mission: Mission, kills: number, errors: number): Promise<void> {
    const points = await tries.points(mission);
    const killed = sampleOf(points, kills).map((point) => () => tries.try(mission, point, kill));
    const failed = sampleOf(points, errors).flatMap((point, index) => {
      const faults = errorsOf(point.call);
      const fault = faults[index % faults.length];
      return fault === undefined ? [] : [() => tries.try(mission, point, fault)];
    });
    assertAllPassed(await tryAll([...killed, ...failed], { atOnce: 2 }));
  }

  test('that upgrades: killed, or failed by the disk, it is old or new', () => sampled(upgrade, 3, 2));
  test('that goes back: killed, or failed by the disk, it is old', () => sampled(wayBack, 2, 1));
  test('that takes up a killed job, and is killed again', async () => {
    for (const mission of recoveries.slice(0, 1)) await sampled(mission, 2, 1);
  });

  test('that takes up a killed job, and is refused a flush where it ends maintenance and the job', async () => {
    const [mission] = recoveries;
    assert.ok(mission);
    const points = await tries.points(mission);
    const flushes = (what: string) => points.findLast((point) => point.what === `fsync ${what}`);
    const ends = [flushes('/agent'), flushes('/agent/journal/.tmp'), flushes('/agent/journal')];
    const all = ends.flatMap((point) => {
      assert.ok(point);
      return [inputError, staysFull].map((fault) => () => tries.try(mission, point, fault));
    });
    assertAllPassed(await tryAll(all, { atOnce: 2 }));
  });

  test('that upgrades, and is refused every flush from that of its maintenance on', async () => {
    const points = await tries.points(upgrade);
    const written = points.findIndex(({ line }) => line.includes('/maintenance.json"'));
    const flush = points.slice(written).find(({ what }) => what === 'fsync /agent');
    assert.ok(written >= 0 && flush);
    assertAllPassed(await tryAll([() => tries.try(upgrade, flush, staysFull)], { atOnce: 1 }));
  });

  test('the records at which a job is killed are those that the missions name', async () => {
    const names = { '0b1': await recordsOf(tries, '0b1'), '0b2': await recordsOf(tries, '0b2') };
    for (const { name, to, recoversFromRecord = 0 } of recoveries)
      assert.equal(`recovery from ${names[to][recoversFromRecord - 1]}`, name);
  });

  test('a node that is a mix, or asks and serves, or a fault that did not happen, does not pass', async () => {
    const points = await tries.points(upgrade);
    const commit = points.find(({ line }) => line.includes('/trial"') && line.includes('unlink'));
    assert.ok(commit, 'no call removes `trial`');
    const mixed = await tries.try(upgrade, commit, kill, (root) =>
      rmSync(join(root, 'data', 'sub', 'migrated')),
    );
    assert.deepEqual(
      mixed.wrong.map((text) => text.slice(0, 20)),
      ['0b1 has as data note'],
    );
    const end = points.findLast(({ what }) => what === 'fsync /agent/journal');
    assert.ok(end, 'nothing flushes the journal');
    const served = await tries.try(upgrade, end, staysFull, (root) => rmSync(join(root, 'run', 'out')));
    assert.deepEqual(served.wrong, [
      'before a restart: it asks for an operator, and no hook took it out of service',
    ]);
    const never = await tries.try(upgrade, { ...commit, call: 'rmdir', nth: 1, ordinal: 1 }, kill);
    const summary = await tryAll([async () => never], { atOnce: 1 });
    assert.match(summary.failures.join(), /invalid, the fault did not happen/);
  });
});
