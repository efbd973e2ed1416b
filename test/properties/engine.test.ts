/**
 * The engine under random histories: clusters of 1 to 8 nodes, policies, orders of events, leaders that
 * die, networks that reorder, operators who change their minds. The guarantees are checked after every
 * step, against what is in etcd and against the nodes themselves; see history.test.part.ts. A failure
 * prints its seed and path: PLEXI_SEED=… PLEXI_PATH=… plays exactly it again.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { found } from './found.test.part.js';
import { type Drawn, History } from './history.test.part.js';

/** Histories that are played on whatever machine: among so many each end is met. */
const historiesMin = 200;
/** Histories, and the milliseconds after which no further one begins, but for the least number. */
const historiesMax = Number(process.env.PLEXI_HISTORIES ?? 20_000);
const timeMaxMs = Number(process.env.PLEXI_HISTORIES_MS ?? 12_000);

/** What a failure has printed, to play exactly it again. */
const { PLEXI_SEED, PLEXI_PATH } = process.env;
const replay = {
  ...(PLEXI_SEED !== undefined && { seed: Number(PLEXI_SEED) }),
  ...(PLEXI_PATH !== undefined && { path: PLEXI_PATH, numRuns: 1 }),
};
const isReplay = PLEXI_PATH !== undefined;

const drawn: fc.Arbitrary<Drawn> = fc.record({
  nodes: fc.integer({ min: 1, max: 8 }),
  ahead: fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat(255) }),
  canary: fc.nat(2),
  isRollback: fc.nat(4).map((drawnNumber) => drawnNumber === 0),
  policy: fc.record({
    maxConcurrent: fc.integer({ min: 1, max: 4 }),
    soakMs: fc.constantFrom(0, 500, 2_000),
    failureBudget: fc.constantFrom(0, 0, 1, 2),
    rollbackOnFailure: fc.nat(3).map((drawnNumber) => drawnNumber > 0),
  }),
  isChecked: fc.nat(2).map((drawnNumber) => drawnNumber > 0),
  spread: fc.option(
    fc.record({
      zones: fc.integer({ min: 1, max: 3 }),
      maxPerZone: fc.constantFrom(null, 1, 2),
      group: fc.nat(255),
      spare: fc.integer({ min: 1, max: 3 }),
    }),
    { nil: undefined, freq: 2 },
  ),
  joiners: fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat(255) }),
  // Up to eight parts of the plan, the start itself, and what follows from it.
  startWrites: fc.option(fc.nat(24), { nil: undefined, freq: 2 }),
  operationsMax: fc.constantFrom(1, 3, 100),
  actions: fc.array(fc.tuple(fc.nat(99), fc.nat(255), fc.nat(255)), { maxLength: 60, size: 'max' }),
});

test('the guarantees hold in random histories, and every rollout ends truthfully', (t) => {
  const ends = new Map<string, number>();
  let steps = 0;
  let count = 0;
  const property = fc.property(drawn, (history) => {
    const played = new History(history);
    const { phase, exitCode } = played.play();
    const end = `${phase} ${exitCode}`;
    ends.set(end, (ends.get(end) ?? 0) + 1);
    steps += played.steps;
    count += 1;
  });
  const startedMs = performance.now();
  // What a slow machine does, too; then what the time allows.
  fc.assert(property, {
    numRuns: historiesMin,
    examples: found.map((history) => [history] as [Drawn]),
    includeErrorInReport: true,
    ...replay,
  });
  const leftMs = timeMaxMs - (performance.now() - startedMs);
  if (leftMs > 0 && !isReplay && historiesMax > count)
    fc.assert(property, {
      numRuns: historiesMax - count,
      interruptAfterTimeLimit: leftMs,
      markInterruptAsFailure: false,
      includeErrorInReport: true,
    });
  t.diagnostic(
    `${count} histories, ${steps} steps: ${[...ends]
      .sort()
      .map(([end, of]) => `${of} ${end}`)
      .join(', ')}`,
  );
  if (isReplay) return;
  assert.ok(count >= historiesMin, `only ${count} histories were played`);
  // A generator that never gets as far as an end would prove nothing about it.
  for (const end of ['succeeded 0', 'rolled_back 1', 'aborted 3', 'failed 4', 'aborted 5'])
    assert.ok((ends.get(end) ?? 0) > count / 1_000, `hardly any history ends ${end}`);
});
