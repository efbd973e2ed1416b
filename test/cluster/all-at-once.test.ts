/**
 * A budget as large as the cluster: more nodes than one transaction of etcd may name go out of service
 * together, and back together, under one leader.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { readPrefix } from '../../controller/leadership/etcd.js';
import { addNodes } from './asking.test.part.js';
import { type Calls, TestCluster } from './cluster.test.part.js';
import { RealEtcd } from './real-etcd.test.part.js';
import type { ScriptedAgent } from './scripted-agent.test.part.js';

const count = 130;

let etcd: RealEtcd;
let cluster: TestCluster;
let calls: Calls;
let agents: ScriptedAgent[];
before(async () => {
  etcd = await RealEtcd.start();
  cluster = await TestCluster.create('at-once', etcd);
  const names = Array.from({ length: count }, (_, index) => `node-${index + 1}`);
  agents = await Promise.all(names.map((node) => cluster.agent(node)));
  // So many agents in one process may keep the leader beside them from its renewals for a while.
  const leadership = { ttl_seconds: 30, margin_ms: 3_000 };
  const replica = await cluster.replica('controller-0', { rollout: { soak_ms: 0 }, leadership });
  calls = await cluster.calls(replica.address);
  await addNodes(calls, agents);
});
after(async () => {
  await cluster.stop();
  await etcd.remove();
});

const slots = async () => (await readPrefix(etcd.client(), cluster.keys.slots)).entries.length;
const term = async () => (await calls.status()).leader?.term;

function upgrades(agent: ScriptedAgent, rollout: string): string[] {
  return agent.executed.filter((id) => id.startsWith(`${rollout}.`) && /upgrade|revert/.test(id));
}

test(`${count} nodes are out at the same time, and each is upgraded once`, async () => {
  const led = await term();
  const releases = agents.map((agent) => agent.hold('upgrade'));
  const id = await calls.start({ to: '0b1', maxConcurrent: count });
  const end = calls.follow(id);
  await Promise.all(agents.map((agent) => agent.begun('upgrade')));
  assert.equal(await slots(), count);
  for (const release of releases) release();
  const { phase, exitCode } = await end;
  assert.deepEqual([phase, exitCode], ['succeeded', 0]);
  for (const agent of agents) assert.deepEqual(upgrades(agent, id), [`${id}.${agent.node}.upgrade.1`]);
  assert.equal(await slots(), 0);
  assert.equal(await term(), led, 'one leader did all of it');
});

test('when one of them fails all the others are taken back', async () => {
  const led = await term();
  const [sick] = agents;
  sick?.fail('upgrade', 'PROBE_FAILED', 'it is sick');
  const id = await calls.start({ to: '0r1', maxConcurrent: count });
  const { phase, exitCode } = await calls.follow(id);
  assert.deepEqual([phase, exitCode], ['rolled_back', 1]);
  assert.deepEqual(new Set(agents.map(({ release }) => release.version)), new Set(['0b1']));
  assert.equal(await slots(), 0);
  assert.equal(await term(), led, 'one leader did all of it');
});
