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

test('a slot names the version that its own node goes to', () => {
  const ids = ['node-1', 'node-2'];
  const nodes = ids.map((id) => sampleNode(id, '0b1'));
  const { plan } = makePlan({
    ...sampleInputs({ nodes, to: '0a1', direction: 'back', policy: { maxConcurrent: 2 } }),
    targetOf: ({ id }) => sampleTarget(id === 'node-1' ? '0a1' : '0a2'),
  });
  const start = { kind: 'start', id: 'u', plan, by: 'op', requestId: 'r' } as const;
  const adopted = ids.map((node): EngineEvent => ({ kind: 'adopted', node }));
  const seen = ids.map((node) => observed(node, { release: releaseAt('0b1') }));
  const begun = after(after(emptyWorld, start), ...seen, ...adopted);
  const checked = after(begun, ...ids.map((node) => finished(node, 'preflight')));
  const { slots } = after(checked, ...ids.map((node) => finished(node, 'stage')));
  assert.deepEqual(
    [...slots.values()].map(({ node, reason }) => [node, reason]),
    [
      ['node-1', 'upgrade to 0a1'],
      ['node-2', 'upgrade to 0a2'],
    ],
  );
});
