/**
 * Zones and groups through the real API on a real etcd: maintenance by hand is held to them like a
 * rollout, a change of labels counts at once, and a plan that no group could allow is refused.
 */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { NodesServiceService } from '../../gen/plexi/v1/nodes.js';
import { addNodes, eventually, refused } from './asking.test.part.js';
import { type Calls, TestCluster } from './cluster.test.part.js';
import { RealEtcd } from './real-etcd.test.part.js';
import type { ScriptedAgent } from './scripted-agent.test.part.js';

let etcd: RealEtcd;
let cluster: TestCluster;
let calls: Calls;
let agents: ScriptedAgent[];
before(async () => {
  etcd = await RealEtcd.start();
  cluster = await TestCluster.create('spread', etcd);
  const groups = [{ name: 'db', labels: { role: 'db' }, min_available: 2 }];
  // The number alone allows all of them.
  const update = { update_system: { clustering: { max_concurrent_nodes: 4 } } };
  await writeFile(join(etcd.folder, 'spread', 'four.yml'), JSON.stringify(update));
  const rollout = { soak_ms: 0, max_per_zone: 1, groups };
  const replica = await cluster.replica('controller-0', { rollout, update_file: 'four.yml' });
  calls = await cluster.calls(replica.address);
  agents = await Promise.all(['node-1', 'node-2', 'node-3', 'node-4'].map((node) => cluster.agent(node)));
  await addNodes(calls, agents);
});
after(async () => {
  await cluster.stop();
  await etcd.remove();
});

function label(node: string, labels: Record<string, string>): Promise<unknown> {
  return calls.ask(NodesServiceService.add, { nodeId: node, address: '', labels });
}

function maintenance(nodeId: string, on: boolean): Promise<unknown> {
  return calls.ask(NodesServiceService.setMaintenance, { nodeId, on, reason: 'new disks' });
}

const shown = async (node: string) =>
  (await calls.ask(NodesServiceService.list, {})).nodes.find(({ id }) => id === node);

test('a node stays in service for its zone, for its group, and with labels that were just changed', async () => {
  for (const [node, zone] of [
    ['node-1', 'a'],
    ['node-2', 'b'],
    ['node-3', 'c'],
    ['node-4', 'a'],
  ] as const)
    await label(node, { zone });
  await maintenance('node-1', true);
  await eventually(
    () => shown('node-1'),
    (node) => node?.inMaintenance === true,
    'it is not in maintenance',
  );
  await assert.rejects(
    maintenance('node-4', true),
    refused('BUDGET_SPENT', /node-4 must stay in service: 1 of 1 nodes .*zone a: node-1/),
  );
  await maintenance('node-1', false);
  await eventually(
    () => shown('node-1'),
    (node) => node?.inService === true,
    'it is not back in service',
  );
  for (const node of ['node-2', 'node-3']) await label(node, { role: 'db' });
  await assert.rejects(
    maintenance('node-2', true),
    refused('BUDGET_SPENT', /group db needs 2 of its 2 nodes, and 1 would be left/),
  );
  await label('node-1', { role: 'db' });
  await maintenance('node-2', true);
  await maintenance('node-2', false);
});

test('a plan is refused when a group can spare none of the nodes that it would change', async () => {
  assert.deepEqual((await calls.plan({ to: '0b1' })).problems, []);
  await label('node-1', { role: 'web' });
  const { problems } = await calls.plan({ to: '0b1' });
  assert.match(
    problems.join(),
    /group db has 2 nodes and needs 2 of them at any time, so none can be upgraded/,
  );
  assert.deepEqual((await calls.plan({ to: '0b1', nodes: ['node-4'] })).problems, []);
  await label('node-2', { role: 'web' });
  await label('node-3', { role: 'web' });
  const { warnings } = await calls.plan({ to: '0b1' });
  assert.match(warnings.join(), /group db of controller.yml has no node/);
});
