/** A way back to more than one version: what is told of a node is its own version. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { after, finished, observed } from '../../test/scenarios/paper-rollout.test.part.js';
import {
  releaseAt,
  sampleInputs,
  sampleNode,
  sampleTarget,
} from '../../test/scenarios/sample-plan.test.part.js';
import { emptyWorld } from './empty-world.test.part.js';
import type { EngineEvent } from './events.js';
import { makePlan } from './plan.js';

test('a slot names the version that its own node goes to, and the end names them all', () => {
  const ids = ['node-1', 'node-2'];
  const nodes = ids.map((id) => sampleNode(id, '0b1'));
  const { plan } = makePlan({
    ...sampleInputs({ nodes, to: '0a1', direction: 'back', policy: { maxConcurrent: 2, soakMs: 0 } }),
    targetOf: ({ id }) => sampleTarget(id === 'node-1' ? '0a1' : '0a2'),
  });
  const start = { kind: 'start', id: 'u', plan, by: 'op', requestId: 'r' } as const;
  const adopted = ids.map((node): EngineEvent => ({ kind: 'adopted', node }));
  const seen = ids.map((node) => observed(node, { release: releaseAt('0b1') }));
  const begun = after(after(emptyWorld, start), ...seen, ...adopted);
  const checked = after(begun, ...ids.map((node) => finished(node, 'preflight')));
  const rolling = after(checked, ...ids.map((node) => finished(node, 'stage')));
  assert.deepEqual(
    [...rolling.slots.values()].map(({ node, reason }) => [node, reason]),
    [
      ['node-1', 'upgrade to 0a1'],
      ['node-2', 'upgrade to 0a2'],
    ],
  );
  const ends = ids.flatMap((node): EngineEvent[] => {
    const release = releaseAt(node === 'node-1' ? '0a1' : '0a2');
    return [finished(node, 'upgrade', { release }), observed(node, { release })];
  });
  const { rollout } = after(rolling, ...ends);
  assert.equal(rollout?.reason, 'all 2 nodes run 0a1 (1) and 0a2 (1)');
});
