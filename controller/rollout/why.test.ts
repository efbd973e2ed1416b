/** Why a node waits, where no transcript tells it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { after, begun, finished, nodeOf, rolling } from '../../test/scenarios/paper-rollout.test.part.js';

test('a node that passed its preflight waits for the others', () => {
  const world = after(begun(2), finished('node-1', 'preflight'));
  const [reason, ...more] = nodeOf(world, 'node-1').waitingOn;
  assert.equal(reason?.reason, 'preflight is not over on all nodes');
  assert.deepEqual(more, []);
  assert.deepEqual(nodeOf(world, 'node-2').waitingOn, [], 'it works');
});

test('a node with an order under way waits for its end', () => {
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
