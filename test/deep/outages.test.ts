/**
 * Long outages of etcd under a rollout, of every kind: 10 s and 30 s, and 5 minutes when there is time for
 * it. All kinds of one length at once, since they mostly wait.
 */
import { describe, test } from 'node:test';
import { outages, rolloutThroughOutage } from '../cluster/outage.test.part.js';
import { reportTests } from './share.test.part.js';

const minutes = Number(process.env.PLEXI_DEEP_MINUTES ?? '10');
/** Seconds of an outage, and the minutes that a run must have for it. */
const lengths = [
  { seconds: 10, minutesNeeded: 0 },
  { seconds: 30, minutesNeeded: 2 },
  { seconds: 300, minutesNeeded: 10 },
];
const tooLong = lengths.filter(({ minutesNeeded }) => minutes < minutesNeeded);
reportTests('outages of etcd', { left: tooLong.length * outages.length });

for (const { seconds, minutesNeeded } of lengths)
  describe(`a rollout outlives ${seconds} s without etcd`, { concurrency: true }, () => {
    const skip = minutes < minutesNeeded ? `needs --minutes ${minutesNeeded}` : false;
    for (const kind of outages)
      test(`etcd is ${kind}`, { skip, timeout: (seconds + 90) * 1_000 }, async (t) => {
        const tookMs = await rolloutThroughOutage(kind, seconds * 1_000);
        t.diagnostic(`${kind}: ${Math.round(tookMs)} ms from its return to the next adoption`);
      });
  });
