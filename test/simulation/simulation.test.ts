/**
 * The program as it is, whole clusters of it, in histories that seeds draw: real controllers and real
 * agents over a model etcd, a model network and a clock of their own; see simulation.test.part.ts. A seed
 * that fails is made smaller and printed with the command that plays it again. PLEXI_SIMULATE_MS: the
 * milliseconds to spend; PLEXI_SIMULATE_FROM: the first seed.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { drawn, faultsOf, momentFaults, steadyFaults } from './drawn.test.part.js';
import { linesOf, playMany } from './many.test.part.js';
import { play } from './simulation.test.part.js';

const timeMaxMs = Number(process.env.PLEXI_SIMULATE_MS ?? 12_000);
const first = Number(process.env.PLEXI_SIMULATE_FROM ?? 1);
const historiesMax = process.env.PLEXI_SIMULATE_MS === undefined ? 2_000 : Number.POSITIVE_INFINITY;

test('one seed is one history', async () => {
  const seed = 7;
  const [one, other, another] = [await play(drawn(seed)), await play(drawn(seed)), await play(drawn(8))];
  assert.equal(one.trace, other.trace);
  assert.equal(one.events, other.events);
  assert.notEqual(one.trace, another.trace);
});

test('a history can be played with less of it', () => {
  const whole = drawn(27);
  const [fault] = faultsOf(whole);
  const less = drawn(27, { nodes: 2, rounds: 1, without: [fault ?? ''], actions: [0] });
  assert.equal(less.nodes, 2);
  assert.equal(less.rounds.length, 1);
  assert.ok(!faultsOf(less).some((kind) => kind === fault));
  assert.deepEqual(less.policy, whole.policy);
});

test('the seeds that ever failed do not fail any more', async () => {
  const kept = readFileSync(join(process.cwd(), 'test', 'simulation', 'seeds.txt'), 'utf8');
  const lines = kept.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  for (const line of lines) {
    const seed = Number.parseInt(line, 10);
    const { broken } = await play(drawn(seed));
    assert.equal(broken, undefined, `seed ${line}: ${broken?.sentence}`);
  }
});

test('what is promised holds under faults, and every rollout ends truthfully', async (t) => {
  const sum = await playMany({ from: first, count: historiesMax, maxMs: timeMaxMs, failuresMax: 3 });
  for (const line of linesOf(sum)) t.diagnostic(line);
  assert.deepEqual(sum.failures, [], sum.failures.join('\n'));
  if (sum.histories < 100) return;
  // A fault that never happens, and an end that is never met, would prove nothing.
  for (const fault of [...steadyFaults, ...momentFaults])
    assert.ok(sum.faults.has(fault), `${fault} never happened`);
  for (const end of ['succeeded 0', 'rolled_back 1', 'aborted 3', 'failed 4', 'aborted 5'])
    assert.ok(sum.ends.has(end), `no rollout ended ${end}`);
});
