/**
 * etcd goes away and comes back under a rollout: nothing wedges, whichever way it was away. Here each outage
 * lasts until the leader has stepped down; `test/deep/outages.test.ts` has every kind, and makes them longer.
 */
import { describe, test } from 'node:test';
import { type outages, rolloutThroughOutage } from './outage.test.part.js';

describe('a rollout outlives an outage of etcd', { concurrency: 2 }, () => {
  for (const kind of ['frozen', 'compacted'] satisfies (typeof outages)[number][])
    test(`etcd is ${kind}`, { timeout: 60_000 }, async (t) => {
      const tookMs = await rolloutThroughOutage(kind, 0);
      t.diagnostic(`${kind}: ${Math.round(tookMs)} ms from its return to the next adoption`);
    });
});
