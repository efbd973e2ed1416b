/**
 * Long outages of etcd under a rollout, of every kind: for 10 s, 30 s and 5 minutes, the long ones when the whole run
 * has time for them. All kinds of one length at once, and all of them beside the other harnesses, since they mostly
 * wait.
 */
import { after, describe, test } from 'node:test';
import { outages, rolloutThroughOutage } from '../cluster/outage.test.part.js';
import { deepRunMinutes, deepUntilMs, reportDeep } from './share.test.part.js';

/** Seconds of an outage, and the minutes that the whole run must have for it. */
const lengths = [
  { seconds: 10, minutesNeeded: 0 },
  { seconds: 30, minutesNeeded: 4 },
  { seconds: 300, minutesNeeded: 12 },
];
/** Seconds of a rollout around its outage, on a machine that is busy. */
const aroundSeconds = 60;

let tried = 0;
const ran = new Map<number, number>();
after(() => {
  const passed = [...ran.values()].reduce((sum, count) => sum + count, 0);
  const more = [...ran].map(([seconds, count]) => `${count} of ${seconds} s`).join(', ') || 'none was run';
  reportDeep('outages of etcd', { tried, passed, left: lengths.length * outages.length - tried, more });
});

/** Why there is no time for one that begins now; an outage of the shortest kind is always run. */
function whyNot(seconds: number, minutesNeeded: number): string | undefined {
  if (deepRunMinutes() < minutesNeeded) return `by design: needs --minutes ${minutesNeeded}`;
  const isLate = performance.now() + (seconds + aroundSeconds) * 1_000 > deepUntilMs();
  return isLate && minutesNeeded > 0 ? 'by design: no time is left' : undefined;
}

for (const { seconds, minutesNeeded } of lengths)
  describe(`a rollout outlives ${seconds} s without etcd`, { concurrency: true }, () => {
    for (const kind of outages)
      test(`etcd is ${kind}`, { timeout: (seconds + 90) * 1_000 }, async (t) => {
        const why = whyNot(seconds, minutesNeeded);
        if (why !== undefined) return t.skip(why);
        tried += 1;
        const tookMs = await rolloutThroughOutage(kind, seconds * 1_000);
        ran.set(seconds, (ran.get(seconds) ?? 0) + 1);
        t.diagnostic(`${kind}: ${Math.round(tookMs)} ms from its return to the next adoption`);
      });
  });
