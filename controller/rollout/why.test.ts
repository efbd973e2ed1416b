/** Why a node waits, where no transcript tells it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  after,
  begun,
  finished,
  nodeOf,
  observed,
  paperNowMs,
  rolling,
} from '../../test/scenarios/paper-rollout.test.part.js';
import { releaseAt, sampleNode, samplePlan } from '../../test/scenarios/sample-plan.test.part.js';
import { emptyWorld } from './empty-world.test.part.js';
import type { EngineEvent } from './events.js';
import type { World } from './world.js';

test('a node that passed its preflight waits for the others', () => {
  const world = after(begun(2), finished('node-1', 'preflight'));
  const [reason, ...more] = nodeOf(world, 'node-1').waitingOn;
  assert.equal(reason?.reason, 'preflight is not over on all nodes');
  assert.deepEqual(more, []);
  assert.deepEqual(nodeOf(world, 'node-2').waitingOn, [], 'it works');
});

const order = {
  kind: 'confirm',
  version: '0a1',
  directory: '',
  reason: 'put right',
  by: 'op',
  sinceMs: 1,
  state: 'open',
  message: '',
  digest: '',
} as const;

test('a node with an order under way waits for its end', () => {
  const ordered = after(rolling(2), { kind: 'order', node: 'node-2', order });
  const ended = after(ordered, finished('node-1', 'upgrade'));
  assert.equal(nodeOf(ended, 'node-2').waitingOn[0]?.reason, "an operator's order is under way on it");
});

test('a hold without a reason names who holds it, and what releases it', () => {
  const hold = { reason: '', by: 'anna', sinceMs: 1 };
  const world = after(rolling(2), { kind: 'hold', node: 'node-2', hold });
  const [reason] = nodeOf(world, 'node-2').waitingOn;
  assert.equal(reason?.reason, 'anna keeps rollouts away from it');
  assert.equal(reason?.unblock, 'plexictl node release node-2, or plexictl skip --node node-2');
});

test('what an operator can say is told anew when it changes, and since when stays', () => {
  const policy = { maxConcurrent: 2, rollbackOnFailure: false };
  const failure = { code: 'PROBE_FAILED', message: 'it says 503' };
  const rolledBack = { outcome: 'rolled_back', failure, failedStep: 'probe' } as const;
  const fails = (node: string) => finished(node, 'upgrade', rolledBack);
  const paused = after(rolling(3, policy), fails('node-1'), fails('node-2'));
  const [before] = nodeOf(paused, 'node-3').waitingOn;
  assert.match(before?.unblock ?? '', /^plexictl retry --node node-1,/);
  const tried = after(paused, { kind: 'wish', wish: { kind: 'retry', node: 'node-1', reason: '' } });
  const [now] = nodeOf(tried, 'node-3').waitingOn;
  assert.match(now?.unblock ?? '', /^plexictl retry --node node-2,/);
  assert.equal(now?.sinceMs, before?.sinceMs);
});

test('a wave whose last node could not go back is over: what waits behind it waits for the budget', () => {
  const ids = ['node-1', 'node-2', 'node-3'];
  const { plan } = samplePlan({
    nodes: ids.map((id) => sampleNode(id, '0a1')),
    ...{ to: '0b1', canary: 1, policy: { failureBudget: 1 } },
  });
  const start = { kind: 'start', id: 'u', plan, by: 'op', requestId: 'r' } as const;
  const adopted = ids.map((node): EngineEvent => ({ kind: 'adopted', node }));
  const begun = after(after(emptyWorld, start), ...ids.map((node) => observed(node)), ...adopted);
  const checked = after(begun, ...ids.map((node) => finished(node, 'preflight')));
  const canary = after(checked, ...ids.map((node) => finished(node, 'stage')));
  assert.deepEqual(reasonsOf(canary, 'node-2'), ['wave 0 is not over']);
  const failure = { code: 'ROLLBACK_FAILED', message: 'it did not go back' };
  const stranded = finished('node-1', 'upgrade', { outcome: 'rollback_failed', failure });
  const world = after(canary, stranded);
  assert.equal(nodeOf(world, 'node-1').state.phase, 'rollback_failed');
  assert.equal(nodeOf(world, 'node-2').state.phase, 'entering_maintenance');
  assert.deepEqual(reasonsOf(world, 'node-3'), ['at most 1 node may be out of service, and others go first']);
});

test('a rollout that is paused keeps its reason to itself: each node says only that it is', () => {
  const pause = { kind: 'pause', reason: 'x'.repeat(5_000) } as const;
  const world = after(rolling(2), { kind: 'wish', wish: pause });
  assert.deepEqual(reasonsOf(world, 'node-2'), ['the rollout is paused']);
  assert.match(world.rollout?.reason ?? '', /^xxx/);
});

/** The first two of three nodes are done, and the third has failed: it goes back, and one waits for another. */
function goingBack(): World {
  const policy = { soakMs: 0 };
  const good = (node: string) => observed(node, { release: releaseAt('0b1'), goodForMs: 1 });
  const one = after(rolling(3, policy), finished('node-1', 'upgrade'), good('node-1'));
  const two = after(one, finished('node-2', 'upgrade'), good('node-2'));
  const failure = { code: 'PROBE_FAILED', message: 'it says 503' };
  return after(two, finished('node-3', 'upgrade', { outcome: 'rolled_back', failure, failedStep: 'probe' }));
}

test('a node that is to go back waits for the budget, which another one has', () => {
  const world = goingBack();
  assert.deepEqual(nodeOf(world, 'node-2').waitingOn, [
    {
      reason: 'at most 1 node may be out of service, and others go back first',
      unblock: 'the way back of a node before it',
      sinceMs: paperNowMs,
    },
  ]);
});

test('a node that is to go back waits for the end of an order, and for an agent that is silent', () => {
  const world = goingBack();
  const ordered = after(world, { kind: 'order', node: 'node-2', order });
  assert.deepEqual(reasonsOf(ordered, 'node-2'), ["an operator's order is under way on it"]);
  const silent = after(world, { kind: 'unreachable', node: 'node-2' });
  assert.deepEqual(reasonsOf(silent, 'node-2'), ['it cannot be reached']);
});

test('a node that is to go back says that etcd was restored, and one that this leader has not heard says so', () => {
  const world = goingBack();
  const restored = after({
    ...world,
    recovery: { kind: 'adopting', epoch: '2', awaited: new Set(['node-9']) },
  });
  assert.deepEqual(reasonsOf(restored, 'node-2'), [
    'etcd was restored, and not every node was adopted since',
  ]);
  const unheard = after({ ...world, views: new Map() });
  assert.deepEqual(reasonsOf(unheard, 'node-2'), ['the leader has not heard it yet']);
});

function reasonsOf(world: World, node: string): string[] {
  return nodeOf(world, node).waitingOn.map(({ reason }) => reason);
}

test('a node that is to go back and needs an operator waits for him alone', () => {
  const done = after(
    rolling(2, { soakMs: 0 }),
    finished('node-1', 'upgrade'),
    observed('node-1', { release: releaseAt('0b1') }),
  );
  const slot = {
    node: 'node-1',
    reason: 'a bad disk',
    rollout: 'x',
    term: '1',
    sinceMs: 1,
    maintenance: null,
  };
  const stuck = { ...done, slots: new Map([...done.slots, ['stuck-node-1', slot]]) };
  const wish = { kind: 'abort', rollback: true, reason: 'no more' } as const;
  const { state, waitingOn } = nodeOf(after(stuck, { kind: 'wish', wish }), 'node-1');
  assert.equal(state.phase, 'done');
  assert.deepEqual(
    waitingOn.map(({ reason }) => reason),
    ['it needs an operator'],
  );
});
