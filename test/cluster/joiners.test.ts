/**
 * A node that comes back to the list while nobody leads: the next leader asks its journal why it is out, and
 * gives it the slot that it must have.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type EtcdOperation, transact } from '../../controller/leadership/etcd.js';
import { agents, cluster, direct, lead, mirror, outcome, wish } from './term.test.part.js';

/** The nodes that hold a slot. */
function holders(): string[] {
  return mirror.under(cluster.keys.slots).map(({ value }) => JSON.parse(value).node);
}

function statusOf(node: string): string {
  return mirror.get(cluster.keys.nodeStatus(node))?.value ?? '';
}

test('a node removed in maintenance and let back while nobody leads has its slot again', async () => {
  const [agent] = await agents(1);
  assert.ok(agent);
  const first = await lead();
  await outcome(await wish({ kind: 'maintenance', node: 'node-1', on: true }));
  await mirror.waitFor(() => statusOf('node-1').includes('"inMaintenance":true'), 10_000);
  assert.deepEqual(holders(), ['node-1']);
  await outcome(await wish({ kind: 'remove', node: 'node-1' }));
  await first.lead.resign('the test takes it away');
  await first.over;
  await mirror.waitFor(() => mirror.get(cluster.keys.leader) === undefined && holders().length === 0, 10_000);
  assert.deepEqual([holders(), statusOf('node-1')], [[], '']);

  const spec = JSON.stringify({ address: agent.address, labels: {} });
  const back: EtcdOperation = { kind: 'put', key: cluster.keys.nodeSpec('node-1'), value: spec };
  await transact(direct, [], [back]);
  await lead();
  await mirror.waitFor(() => holders().length > 0, 10_000);
  assert.deepEqual(holders(), ['node-1']);
  // Only then is it a node like the others, for whoever leads next.
  await mirror.waitFor(() => statusOf('node-1').includes('"joined":false'), 10_000);
  assert.match(statusOf('node-1'), /"joined":false/);
});
