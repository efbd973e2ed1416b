/** Which nodes of a finished rollout go back, and what is said of each that does not. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { limits } from '../../config/limits.js';
import { versionScheme } from '../../release/version.js';
import { sampleNode, samplePlan } from '../../test/scenarios/sample-plan.test.part.js';
import type { NodeFacts } from '../rollout/plan-inputs.js';
import { firstNode, type Rollout } from '../rollout/rollout.js';
import { namesOf, oldestBefore, wayBackOf } from './way-back.js';

/** It changed one node for each version that nodes ran before. */
function changedFrom(...versions: readonly string[]): Rollout {
  const nodes = versions.map((version, index) => sampleNode(`node-${index + 1}`, version));
  const { plan } = samplePlan({ nodes, to: '0b1' });
  return {
    ...{ id: 'u', plan, phase: 'succeeded', reason: '', course: { kind: 'forward' }, requestId: 'r' },
    ...{ startedAtMs: 0, startedBy: 'op', finishedAtMs: 1, exitCode: 0, forgiven: [] },
    nodes: new Map(
      plan.parts.map((part) => [part.node, { ...firstNode(part, 0), state: { phase: 'done' } }]),
    ),
  };
}

function runs(version: string, ...nodes: readonly string[]): Map<string, NodeFacts> {
  return new Map(nodes.map((node) => [node, sampleNode(node, version)]));
}

test('a node that ran nothing before stays, and the others go back', () => {
  const facts = runs('0b1', 'node-1', 'node-2');
  const { able, left } = wayBackOf(changedFrom('none', '0a1'), facts, []);
  assert.deepEqual(
    able.map(({ node }) => node),
    ['node-2'],
  );
  assert.deepEqual(left, [
    {
      node: 'node-1',
      why: 'node-1 ran nothing before u and stays as it is; if it is not wanted, take it off with plexictl node remove node-1',
    },
  ]);
});

test('a node that is gone, and one that nobody can reach, say what lets them go back', () => {
  const facts = new Map([
    ...runs('0b1', 'node-2'),
    ['node-3', sampleNode('node-3', '0b1', { unknown: true })],
  ]);
  const { able, left } = wayBackOf(changedFrom('0a1', '0a1', '0a1'), facts, []);
  assert.equal(able.length, 1);
  assert.deepEqual(
    left.map(({ why }) => why),
    [
      'node-1 is not in the cluster any more and stays as it is; if it is to go back, let it in with plexictl node add node-1, then say plexictl rollback --update-id u',
      'node-3 cannot be reached and stays as it is; start its agent, then say plexictl rollback --update-id u',
    ],
  );
});

test('a node that needs an operator is named, and one that is back already is in no list', () => {
  const facts = new Map([...runs('0b1', 'node-1'), ...runs('0a1', 'node-2')]);
  const { able, left } = wayBackOf(changedFrom('0a1', '0a1'), facts, ['node-1']);
  assert.deepEqual(able, []);
  assert.match(
    left[0]?.why ?? '',
    /^an operator is needed before node-1 can go back; look with plexictl why node-1/,
  );
  assert.equal(left.length, 1);
});

test('the names of any number of nodes that stay fit into one value of etcd', () => {
  const node = 'n'.repeat(limits.nameChars);
  const names = namesOf(Array.from({ length: limits.nodes }, () => ({ node, why: '' })));
  // The rest of a header is a few KiB.
  assert.ok(JSON.stringify(names).length < limits.etcdValueBytes - 16 * 1_024);
  assert.equal(names.at(-1), `${limits.nodes - limits.leftOutNames} more`);
  assert.deepEqual(namesOf([{ node, why: '' }]), [node]);
});

test('a way back is named by the versions of the nodes that go back, and not by those that stay', () => {
  const scheme = versionScheme('plexi');
  const { able } = wayBackOf(
    changedFrom('none', '0a1', '0a2'),
    runs('0b1', 'node-1', 'node-2', 'node-3'),
    [],
  );
  assert.equal(oldestBefore(able, scheme), '0a1');
  const later = wayBackOf(changedFrom('none', '0a1', '0a2'), runs('0b1', 'node-1', 'node-3'), []);
  assert.equal(oldestBefore(later.able, scheme), '0a2');
});
