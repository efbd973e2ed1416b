/**
 * etcd goes away and comes back under a rollout: nothing wedges, whichever way it was away. Here each outage
 * lasts until the leader has stepped down; `test/deep/outages.test.ts` has every kind, and makes them longer.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { assertEndedOnce, type outages, rolloutThroughOutage } from './outage.test.part.js';

describe('a rollout outlives an outage of etcd', { concurrency: 2 }, () => {
  for (const kind of ['frozen', 'compacted'] satisfies (typeof outages)[number][])
    test(`etcd is ${kind}`, { timeout: 60_000 }, async (t) => {
      const tookMs = await rolloutThroughOutage(kind, 0);
      t.diagnostic(`${kind}: ${Math.round(tookMs)} ms from its return to the next adoption`);
    });
});

test('a rollout that fails, a command too many, in another order or not at all, and a slot that is held do not pass', () => {
  const end = { id: 'r', phase: 'succeeded', counts: { done: 1 } };
  const executed = ['preflight', 'stage', 'upgrade'].map((step) => `r.node-1.${step}.1`);
  const agent = { node: 'node-1', executed };
  assertEndedOnce(end, [agent], []);
  assert.throws(() => assertEndedOnce({ ...end, phase: 'failed' }, [agent], []));
  assert.throws(() => assertEndedOnce({ ...end, counts: {} }, [agent], []));
  const wrong = [[...executed, ...executed.slice(2)], executed.toReversed(), executed.slice(1)];
  for (const did of wrong) assert.throws(() => assertEndedOnce(end, [{ ...agent, executed: did }], []));
  assert.throws(() => assertEndedOnce(end, [agent], [{ key: 'slots/0' }]));
});
