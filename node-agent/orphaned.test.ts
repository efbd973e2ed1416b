/**
 * A node without a controller, with a clock that the test turns: it goes back from a wait for a person, takes
 * up a job whose journal could not be written, finishes a committed one, and leaves alone what works, what a
 * person holds, and what node-agent.yml says to hold.
 */
import assert from 'node:assert/strict';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { describe, type TestContext, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { agentConfig, environment } from './agent-node.test.part.js';
import { maintenance } from './caller.test.part.js';
import { Orphaned } from './orphaned.js';
import { ProcessService } from './service/process.js';
import { startByHand } from './start-by-hand.js';
import { CheckedNode, clusterWith } from './upgrade/checked-node.test.part.js';

const afterMs = 600_000;

const { cluster, old, next } = await clusterWith('0b3');

/** The configuration, by which a test sees that the agent has looked: each look reads it. */
function watchedConfig(action: 'roll_back' | 'hold') {
  let reads = 0;
  const waiting = new Map<number, () => void>();
  const orphan = {
    get afterMs(): number {
      reads++;
      waiting.get(reads)?.();
      return afterMs;
    },
    action,
  };
  const looks = (times: number): Promise<void> =>
    new Promise((resolve) => {
      waiting.set(reads + times, resolve);
    });
  return { orphan, looks };
}

/** A node whose monotonic clock runs on by so much when the test says so. */
async function onTurnedClock(t: TestContext, action: 'roll_back' | 'hold' = 'roll_back') {
  let turnedMs = 0;
  const clock = { nowMs: () => performance.now() + turnedMs, wall: () => new Date() };
  const { orphan, looks } = watchedConfig(action);
  const checked = await CheckedNode.start(t, cluster, { orphan }, { ...environment, clock });
  await checked.caller.execute(checked.stageOrder(next));
  const turn = (ms: number): void => {
    turnedMs += ms;
  };
  return { checked, turn, looks };
}

/** An upgrade that waits for a person; resolves once it does. */
async function waiting(checked: CheckedNode) {
  const order = checked.upgradeOrder(old, next, { restartByHand: true });
  let isWaiting: () => void = () => undefined;
  const begun = new Promise<void>((resolve) => {
    isWaiting = resolve;
  });
  const ended = checked.caller.execute(order, ({ event }) => {
    if (event?.$case === 'progress' && event.value.waitsFor !== '') isWaiting();
  });
  await Promise.race([begun, ended]);
  return { order, ended };
}

describe('an orphaned node', { concurrency: 2 }, () => {
  test('goes back from a wait for a person, and tells why', async (t) => {
    const { checked, turn } = await onTurnedClock(t);
    const { ended } = await waiting(checked);
    turn(afterMs);
    const { result } = await ended;
    assert.equal(result.outcome, 'rolled_back');
    assert.match(result.failure?.message ?? '', /no controller was heard for 600000 ms/);
    assert.equal(await checked.node.serviceVersion(), '0a1');
    assert.deepEqual(checked.node.isInMaintenance(), { record: false, hook: false });
  });

  test('is none as long as a controller calls under a valid token', async (t) => {
    const { checked, turn, looks } = await onTurnedClock(t);
    const { ended, order } = await waiting(checked);
    const { seq = 0n } = order.token ?? {};
    for (const call of [
      // The same command again attaches.
      () => checked.caller.executeUntil(order, 'applying'),
      () => checked.caller.adopt([1, 5, Number(seq) + 1]),
    ]) {
      turn(0.7 * afterMs);
      await call();
      await looks(2);
    }
    turn(0.7 * afterMs);
    await assert.rejects(checked.caller.adopt([1, 4, 1]), { code: 'STALE_TOKEN' });
    await checked.caller.describe();
    await looks(2);
    turn(0.4 * afterMs);
    const { result } = await ended;
    assert.equal(result.failure?.code, 'CANCELLED', 'an older leader and a mere look do not count');
  });

  test('holds when its configuration says so', async (t) => {
    const { checked, turn, looks } = await onTurnedClock(t, 'hold');
    const { ended } = await waiting(checked);
    turn(100 * afterMs);
    await looks(2);
    assert.equal((await startByHand(checked.node.config)).version, '0b3');
    assert.equal((await ended).result.outcome, 'done');
  });

  test('takes up a job whose journal could not be written, and goes back', async (t) => {
    const { checked, turn } = await onTurnedClock(t);
    const { node } = checked;
    await writeFile(node.at('run', 'maintenance.hold'), '');
    const { ended } = await checked.caller.executeUntil(
      checked.upgradeOrder(old, next),
      'entering_maintenance',
    );
    ended.catch(() => undefined);
    const taken = node.at('agent', 'journal', '0000000002.json');
    await mkdir(taken);
    await rm(node.at('run', 'maintenance.hold'));
    await assert.rejects(ended);
    const { needsOperator } = await checked.caller.describe();
    assert.notEqual(needsOperator, undefined);
    assert.equal(node.isInMaintenance().record, true);
    await rm(taken, { recursive: true });
    turn(afterMs);
    await checked.caller.statusWhen((now) => !now.inMaintenance && now.needsOperator === undefined);
    assert.equal(await node.serviceVersion(), '0a1');
    const { jobs } = await checked.caller.adopt([1, 9, 1]);
    assert.equal(jobs.at(-1)?.result?.outcome, 'rolled_back');
  });

  for (const action of ['roll_back', 'hold'] as const)
    test(`is none behind its commit: it leaves maintenance when there is room again (${action})`, async (t) => {
      const { checked, turn, looks } = await onTurnedClock(t, action);
      const { node } = checked;
      await node.mark('maintenance.hold');
      const order = checked.upgradeOrder(old, next);
      const { ended } = await checked.caller.executeUntil(order, 'entering_maintenance');
      ended.catch(() => undefined);
      // The record of the step behind the commit.
      const taken = node.at('agent', 'journal', '0000000006.json');
      await mkdir(taken);
      await node.unmark('maintenance.hold');
      await assert.rejects(ended);
      const { needsOperator, inMaintenance } = await checked.caller.describe();
      assert.deepEqual([needsOperator?.code, inMaintenance], ['INTERNAL', true]);
      assert.match(
        await readFile(node.at('agent', 'journal', '0000000005.json'), 'utf8'),
        /"committed":true/,
      );
      await looks(2);
      turn(afterMs);
      // It tries, in vain, and again only after the same time.
      await looks(3);
      assert.notEqual((await checked.caller.describe()).needsOperator, undefined);
      await rm(taken, { recursive: true });
      turn(afterMs);
      await checked.caller.statusWhen((now) => !now.inMaintenance && now.needsOperator === undefined);
      assert.equal(await node.serviceVersion(), '0b3');
      const { jobs } = await checked.caller.adopt([1, 9, 1]);
      assert.equal(jobs.at(-1)?.result?.outcome, 'done');
    });

  test('is taken up in the critical section of commands, and not after a call that came first', async () => {
    const job = { commandId: 'u', committed: false, command: { commandId: 'u', upgrade: {} } };
    for (const heardMeanwhile of [true, false]) {
      let takenUp = 0;
      let nowMs = 0;
      const executor = {
        ...{ runningCommandId: undefined, progress: undefined, cancel: () => undefined },
        takeUpAgain: async () => {
          takenUp++;
          return undefined;
        },
      };
      let enter: () => void = () => undefined;
      const free = new Promise<void>((resolve) => {
        enter = resolve;
      });
      const commands = { exclusively: async <T>(work: () => Promise<T>) => free.then(work) };
      const config = agentConfig('/nowhere', { orphan: { afterMs, action: 'roll_back' } });
      const clock = { nowMs: () => nowMs, wall: () => new Date(0) };
      const node = { config, clock, log: environment.log, service: new ProcessService('/nowhere') };
      const orphaned = new Orphaned(node, { open: () => Object(job) }, executor, commands);
      nowMs = afterMs;
      const looked = orphaned.look();
      await nextTurn();
      assert.equal(takenUp, 0, 'a command is being let in');
      if (heardMeanwhile) orphaned.heard();
      enter();
      await looked;
      assert.equal(takenUp, heardMeanwhile ? 0 : 1);
    }
  });

  test('is none once somebody has started its service, seen by the step that waits or not', async () => {
    const job = { commandId: 'u', committed: false, command: { commandId: 'u', upgrade: {} } };
    for (const runs of [true, false]) {
      const cancelled: string[] = [];
      const executor = {
        runningCommandId: 'u',
        progress: { phase: 'applying', percent: 0, message: '', waitsFor: 'a person' },
        cancel: (commandId: string) => {
          cancelled.push(commandId);
          return undefined;
        },
        takeUpAgain: async () => undefined,
      };
      let nowMs = 0;
      const config = agentConfig('/nowhere', { orphan: { afterMs, action: 'roll_back' } });
      const clock = { nowMs: () => nowMs, wall: () => new Date(0) };
      const service = Object.assign(new ProcessService('/nowhere'), { isRunning: async () => runs });
      const node = { config, clock, log: environment.log, service };
      const commands = { exclusively: <T>(work: () => Promise<T>) => work() };
      const orphaned = new Orphaned(node, { open: () => Object(job) }, executor, commands);
      nowMs = afterMs;
      await orphaned.look();
      assert.deepEqual(cancelled, runs ? [] : ['u']);
    }
  });

  test('is never one in maintenance by hand, nor in the middle of a step', async (t) => {
    const { checked, turn, looks } = await onTurnedClock(t);
    const { node } = checked;
    await checked.caller.execute(maintenance('on', [1, 5, 50], true));
    turn(10 * afterMs);
    await looks(2);
    assert.equal(node.isInMaintenance().record, true);
    await checked.caller.execute(maintenance('off', [1, 5, 51], false));
    await node.mark('maintenance.hold');
    const order = { ...checked.upgradeOrder(old, next), token: { epoch: 1n, term: 5n, seq: 60n } };
    const { ended } = await checked.caller.executeUntil(order, 'entering_maintenance');
    turn(10 * afterMs);
    await looks(2);
    await node.unmark('maintenance.hold');
    assert.equal((await ended).result.outcome, 'done', 'the step had its end, and the job went on');
  });
});
