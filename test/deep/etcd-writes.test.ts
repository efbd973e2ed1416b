/** The leader of a rollout dies at each of its writes to etcd, before and behind it. */
import { after, before, describe, test } from 'node:test';
import { RealEtcd } from '../cluster/real-etcd.test.part.js';
import { type Course, EtcdWrites } from '../crash/etcd-writes.test.part.js';
import { assertAllPassed, spread, tryAll } from '../crash/spread.test.part.js';
import { deepUntilMs, reportDeep } from './share.test.part.js';

/** How far the number of writes differs from one rollout to the next, because some fall together. */
const unsure = 4;

describe('a leader that dies at each write to etcd', () => {
  let etcd: RealEtcd;
  before(async () => {
    etcd = await RealEtcd.start();
  });
  after(() => etcd.remove());

  test('is followed by one that ends the rollout truthfully', async () => {
    const writes = new EtcdWrites(etcd);
    const points = [];
    const untilMs = deepUntilMs();
    /** Courses whose writes nobody has counted; each of them is a point that is left. */
    let uncounted = 0;
    for (const course of ['succeeds', 'goes back'] satisfies Course[]) {
      if (performance.now() >= untilMs) {
        uncounted += 1;
        continue;
      }
      const count = await writes.writes(course);
      for (let nth = 1; nth <= count + unsure; nth++)
        for (const effect of ['lost', 'kept'] as const) points.push({ course, nth, effect, count });
    }
    const tries = spread(points).map(({ course, nth, effect, count }) => async () => {
      const mayBeMissing = nth > count - unsure;
      const tried = await writes.try(course, { nth, effect }, { mayBeMissing });
      return tried.isMissing && mayBeMissing && tried.wrong.length === 0 ? undefined : tried;
    });
    const summary = await tryAll(tries, { atOnce: 3, untilMs });
    summary.left += uncounted;
    reportDeep('crash at each etcd write', summary);
    assertAllPassed(summary);
  });
});
