/**
 * The program as it is, whole clusters of it, in histories that seeds draw: real controllers and real
 * agents over a model etcd, a model network and a clock of their own; see simulation.test.part.ts. A seed
 * that fails is made smaller and printed with the command that plays it again. PLEXI_SIMULATE_MS: the
 * milliseconds to spend, and longer where they did not suffice for the least number of histories, or for each
 * fault and each end to be met; PLEXI_SIMULATE_FROM: the first seed.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { drawn, faultsOf, momentFaults, steadyFaults } from './drawn.test.part.js';
import { keepSeeds } from './keep-seeds.test.part.js';
import { added, linesOf, playMany, type Sum } from './many.test.part.js';
import { play } from './simulation.test.part.js';

const timeMaxMs = Number(process.env.PLEXI_SIMULATE_MS ?? 12_000);
const first = Number(process.env.PLEXI_SIMULATE_FROM ?? 1);
const historiesMax = process.env.PLEXI_SIMULATE_MS === undefined ? 2_000 : Number.POSITIVE_INFINITY;
/** Histories that are played on whatever machine; a fifth of what one that is not slow does in the time. */
const historiesMin = 12;
/** Histories among which each fault and each end must be met; about twenty do. */
const tellingMax = 100;
const ends = ['succeeded 0', 'rolled_back 1', 'aborted 3', 'failed 4', 'aborted 5'];

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

test('a seed that fails is kept, once', () => {
  const folder = mkdtempSync(join(tmpdir(), 'plexi-seeds-'));
  const file = join(folder, 'seeds.txt');
  writeFileSync(file, '# seeds\n12 known\n');
  const failures = [
    'seed 7, guarantee 1: two are out\n  npm run simulate -- --seed 7',
    'seed 12, guarantee 3: a mix',
  ];
  assert.deepEqual(keepSeeds(failures, file), [7]);
  assert.deepEqual(keepSeeds(failures, file), []);
  assert.equal(readFileSync(file, 'utf8'), '# seeds\n12 known\n7 guarantee 1: two are out\n');
  rmSync(folder, { recursive: true });
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
  const bounds = { from: first, count: historiesMax, maxMs: timeMaxMs, failuresMax: 3 };
  const sum = await playOn(await playMany(bounds));
  for (const line of linesOf(sum)) t.diagnostic(line);
  assert.deepEqual(sum.failures, [], sum.failures.join('\n'));
  assert.ok(sum.histories >= historiesMin, `only ${sum.histories} histories were played`);
  // A fault that never happens, and an end that is never met, would prove nothing.
  assert.deepEqual(notMet(sum), [], `never met in ${sum.histories} histories`);
});

/** More histories, one at a time, where the time was too short to show anything. */
async function playOn(sum: Sum): Promise<Sum> {
  const isMeant = sum.histories < historiesMin || (sum.histories < tellingMax && notMet(sum).length > 0);
  if (!isMeant || sum.failures.length > 0) return sum;
  const from = first + sum.histories;
  const one = await playMany({ from, count: 1, maxMs: Number.POSITIVE_INFINITY, failuresMax: 1 });
  return playOn(added(sum, one));
}

/** The faults that did not happen, and the ends that no rollout came to. */
function notMet(sum: Sum): string[] {
  const faults = [...steadyFaults, ...momentFaults].filter((fault) => !sum.faults.has(fault));
  return [...faults, ...ends.filter((end) => !sum.ends.has(end))];
}
