/**
 * As many simulated rollouts as the time allows, on every core. PLEXI_SIMULATE_FROM: the first seed; give
 * another one to see other histories.
 */
import assert from 'node:assert/strict';
import { availableParallelism } from 'node:os';
import { test } from 'node:test';
import { linesOf, playMany } from '../simulation/many.test.part.js';
import { deepUntilMs, reportDeep } from './share.test.part.js';

const first = Number(process.env.PLEXI_SIMULATE_FROM ?? 10_001);

test('whole clusters keep what is promised, seed after seed', async (t) => {
  const bounds = { from: first, count: 1_000_000, maxMs: deepUntilMs() - performance.now(), failuresMax: 3 };
  const sum = await playMany(bounds, availableParallelism());
  const { rollouts: tried, failures } = sum;
  reportDeep('simulated rollouts', { tried, passed: tried - failures.length, left: 0 });
  for (const line of linesOf(sum)) t.diagnostic(line);
  assert.ok(tried > 0, 'no rollout was played');
  assert.deepEqual(failures, [], failures.join('\n'));
});
