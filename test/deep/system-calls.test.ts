/**
 * An agent is killed at each of its system calls for its own root: in an upgrade, on the way back, and
 * while it takes up a job that was killed before. Then each of these calls fails, once and for good.
 * `PLEXI_CASE=PATTERN` tries only the points whose name the pattern fits: `restore, (EIO|ENOSPC) at fsync 28 `.
 */
import { env } from 'node:process';
import { describe, test } from 'node:test';
import { errorsOf, kill, moreRecoveries, recoveries, upgrade, wayBack } from '../crash/missions.test.part.js';
import { assertAllPassed, type Summary, spread, tryAll } from '../crash/spread.test.part.js';
import { type Fault, type TracedCall, whyNoStrace } from '../crash/strace.test.part.js';
import { type Mission, SystemCallTries, tryName } from '../crash/system-calls.test.part.js';
import { deepUntilMs, reportDeep } from './share.test.part.js';

/** On two cores; more only wait for one another. */
const atOnce = 3;

describe('an agent at each system call', { skip: whyNoStrace() ?? false }, () => {
  test('killed or failed by the disk, it is old or new', async (t) => {
    const tries = await SystemCallTries.create();
    t.after(() => tries.bench.remove());
    const untilMs = deepUntilMs();
    const total: Summary = { tried: 0, passed: 0, left: 0, failures: [] };
    const wanted = new RegExp(env.PLEXI_CASE ?? '');
    const missions = [upgrade, wayBack, ...recoveries];
    const listed = new Map<Mission, TracedCall[]>();
    const run = async (these: readonly Mission[], faultsOf: (point: TracedCall) => Fault[]) => {
      const points = [];
      for (const mission of these) {
        // Only a run without faults lists its points; until then it counts as one.
        if (performance.now() >= untilMs) {
          total.left += 1;
          continue;
        }
        const calls = listed.get(mission) ?? (await tries.points(mission));
        listed.set(mission, calls);
        for (const point of calls)
          for (const fault of faultsOf(point))
            if (wanted.test(tryName(mission, point, fault)))
              points.push(() => tries.try(mission, point, fault));
      }
      const part = await tryAll(spread(points), { atOnce, untilMs });
      for (const key of ['tried', 'passed', 'left'] as const) total[key] += part[key];
      total.failures.push(...part.failures);
    };
    await run(missions, () => [kill]);
    reportDeep('killed at each system call', total);
    const killed = { ...total };
    await run(missions, ({ call }) => errorsOf(call));
    await run(moreRecoveries, ({ call }) => [kill, ...errorsOf(call)]);
    reportDeep('errors at each system call, and more recoveries', {
      tried: total.tried - killed.tried,
      passed: total.passed - killed.passed,
      left: total.left - killed.left,
    });
    assertAllPassed(total);
  });
});
