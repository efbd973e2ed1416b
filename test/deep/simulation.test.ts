/**
 * As many simulated rollouts as the time allows, on every core. PLEXI_SIMULATE_FROM: the first seed; give
 * another one to see other histories.
 */
import assert from 'node:assert/strict';
import { availableParallelism } from 'node:os';
import { test } from 'node:test';
import { keepSeeds } from '../simulation/keep-seeds.test.part.js';
import { linesOf, playMany } from '../simulation/many.test.part.js';
import { deepUntilMs, reportDeep } from './share.test.part.js';

/** Histories that fail, after which none is begun. */
const failuresMax = 3;
/** Milliseconds within which a history has ended, the start of its thread included, on a machine that is busy. */
const historyMs = 20_000;
const first = Number(process.env.PLEXI_SIMULATE_FROM ?? 10_001);

test('whole clusters keep what is promised, seed after seed', async (t) => {
  const maxMs = deepUntilMs() - performance.now();
  const bounds = { from: first, count: 1_000_000, maxMs, failuresMax };
  const sum = await playMany(bounds, availableParallelism());
  const { histories: tried, rollouts, failures } = sum;
  const early = failures.length < failuresMax ? '' : `, ended early, at failure ${failures.length}`;
  const more = `${rollouts} rollouts${early}`;
  reportDeep('simulated histories', { tried, passed: tried - failures.length, left: 0, more });
  for (const line of linesOf(sum)) t.diagnostic(line);
  keepSeeds(failures);
  if (maxMs > historyMs) assert.ok(rollouts > 0, 'no rollout was played');
  assert.deepEqual(failures, [], failures.join('\n'));
});
