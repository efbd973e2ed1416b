/** What a leader stores of a node before it knows why that node is out of service. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NodeStatus } from '../../gen/plexi/v1/node_agent.js';
import { keys } from '../../test/scenarios/model-leader.test.part.js';
import { unseenNode } from '../rollout/change.js';
import { emptyWorld } from '../rollout/empty-world.test.part.js';
import type { World } from '../rollout/world.js';
import { NodeReports } from './node-reports.js';

const node = 'node-9';
const spec = { address: `${node}:1`, labels: {}, installId: 'i', removed: false };
const entry = { key: keys.nodeSpec(node), value: JSON.stringify(spec) };
const revisions = { createRevision: 1n, modRevision: 1n, lease: '0' };

/** Whether its record says that nobody has adopted it yet. */
function joinedIn(before: World, after = before): boolean {
  const reports = new NodeReports(keys, () => new Date(0));
  reports.seen(node, NodeStatus.fromPartial({ health: 'healthy', inMaintenance: true }));
  const lookup = (key: string) => (key === entry.key ? { ...entry, ...revisions } : undefined);
  const [write] = reports.writes(before, after, lookup).flatMap(({ operations }) => operations);
  assert.ok(write?.kind === 'put' && write.key === keys.nodeStatus(node));
  return JSON.parse(write.value).joined;
}

test('a node counts as one that joined from its first word on, until its slot stands', () => {
  const listed: World = { ...emptyWorld, labels: new Map([[node, {}]]) };
  const joining: World = { ...listed, views: new Map([[node, { ...unseenNode, joined: true }]]) };
  assert.equal(joinedIn(emptyWorld), true, 'heard before the leader has taken it into its world');
  assert.equal(joinedIn(emptyWorld, joining), true);
  assert.equal(joinedIn(joining, listed), true, 'its slot is stored after its record');
  assert.equal(joinedIn(listed), false);
});
