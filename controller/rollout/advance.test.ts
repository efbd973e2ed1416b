/** One advance of the engine: it comes to an end, and what must not happen twice does not. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { limits } from '../../config/limits.js';
import {
  after,
  begun,
  finished,
  nodeOf,
  paperNowMs,
  rolling,
} from '../../test/scenarios/paper-rollout.test.part.js';
import { samplePolicy } from '../../test/scenarios/sample-plan.test.part.js';
import { advance, untilSettled } from './advance.js';
import { bounded } from './change.js';
import type { World } from './world.js';

test('steps are taken until one changes nothing; steps in a circle are an error, and no endless loop', () => {
  assert.equal(
    untilSettled(0, (count) => Math.min(count + 1, 7), 10),
    7,
  );
  assert.throws(() => untilSettled(0, (count) => 1 - count, 1_000), /decides in a circle/);
});

test('all of 300 nodes go out where the budget allows it, a hundred in one decision, and back at once', () => {
  const nodes = Array.from({ length: 300 }, (_, index) => `node-${index + 1}`);
  const checked = after(
    begun(300, { maxConcurrent: 300 }),
    ...nodes.map((node) => finished(node, 'preflight')),
  );
  const first = after(checked, ...nodes.map((node) => finished(node, 'stage')));
  assert.equal(phasesOf(first).filter((phase) => phase === 'entering_maintenance').length, 100);
  const out = rolling(300, { maxConcurrent: 300 });
  assert.deepEqual(new Set(phasesOf(out)), new Set(['entering_maintenance']));
  const soaking = after(out, ...nodes.slice(1).map((node) => finished(node, 'upgrade')));
  const failure = { code: 'PROBE_FAILED', message: 'sick' };
  const back = after(soaking, finished('node-1', 'upgrade', { outcome: 'rolled_back', failure }));
  assert.deepEqual(phasesOf(back), ['rolled_back', ...nodes.slice(1).map(() => 'rolling_back')]);
});

function phasesOf(world: World): string[] {
  return [...(world.rollout?.nodes.values() ?? [])].map(({ state }) => state.phase);
}

test('a node that was left out is not waited for any longer: its silence is written no more', () => {
  const { unknownMaxMs } = samplePolicy;
  const away = after(rolling(2), { kind: 'unreachable', node: 'node-2' });
  const at = (world: World, ms: number): World => advance(world, [{ kind: 'tick' }], paperNowMs + ms).world;
  const out = at(away, unknownMaxMs + 1);
  assert.equal(nodeOf(out, 'node-2').state.phase, 'skipped');
  const later = at(at(out, unknownMaxMs + 2), 2 * unknownMaxMs);
  assert.equal(later.rollout, at(out, unknownMaxMs + 2).rollout);
});

test('a second start changes nothing while a rollout is active', () => {
  const world = begun(2);
  assert.ok(world.rollout);
  const again = { kind: 'start', id: 'v', plan: world.rollout.plan, by: 'op', requestId: 's' } as const;
  assert.equal(after(world, again).rollout?.id, 'u');
});

test('what nodes say at any length is cut before it is stored', () => {
  const failure = { code: 'DISK_FULL', message: 'x'.repeat(100_000) };
  const world = after(begun(1), finished('node-1', 'preflight', { outcome: 'failed', failure }));
  assert.equal(nodeOf(world, 'node-1').error?.message, `${'x'.repeat(limits.failureChars - 2)} …`);
  assert.equal(world.rollout?.phase, 'aborted');
  assert.equal(world.rollout.reason.length, limits.failureChars);
  assert.equal(bounded('short'), 'short');
});
