/**
 * One outage of etcd in the middle of a rollout: the leader steps down by its own clock, nodes work on, and
 * when etcd is back somebody leads again and the rollout ends, with no command executed twice.
 */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { readPrefix } from '../../controller/leadership/etcd.js';
import type { Rollout } from '../../gen/plexi/v1/rollouts.js';
import { addNodes, eventually } from './asking.test.part.js';
import { TestCluster } from './cluster.test.part.js';
import { forward } from './commands-told.test.part.js';
import { TcpProxy } from './proxy.test.part.js';
import { RealEtcd } from './real-etcd.test.part.js';
import type { ScriptedAgent } from './scripted-agent.test.part.js';

/** How etcd is away. `lost`: packets go nowhere; `refused`: nobody listens. */
export const outages = ['frozen', 'killed', 'lost', 'refused', 'compacted'] as const;
export type Outage = (typeof outages)[number];

/**
 * @param lastsMs how long it lasts at the least; it always lasts until the leader has stepped down
 * @returns milliseconds from etcd's return to the next adoption of the node in flight
 */
export async function rolloutThroughOutage(kind: Outage, lastsMs: number): Promise<number> {
  const etcd = await RealEtcd.start();
  const proxy = await TcpProxy.start(etcd.port);
  const cluster = await TestCluster.create(`outage-${kind}`, etcd);
  try {
    const changes = { etcd: etcd.connection(proxy.port) };
    const leader = await cluster.replicaProcess('controller-0', changes);
    const calls = await cluster.calls(leader.address);
    const agents = await Promise.all(['node-1', 'node-2', 'node-3'].map((node) => cluster.agent(node)));
    await addNodes(calls, agents);
    const [, second] = agents;
    assert.ok(second);
    const release = second.hold('upgrade');
    const id = await calls.start({ to: '0b1' });
    await second.begun('upgrade');
    const adoptions = second.adoptions.length;

    const beganMs = performance.now();
    const endOutage = await begin(kind, etcd, proxy);
    await eventually(
      async () => leader.log(),
      (log) => log.includes('the lead is over'),
      'the leader does not step down',
    );
    await sleep(Math.max(0, lastsMs - (performance.now() - beganMs)));
    assert.equal(leader.process.exitCode, null, leader.log());
    await endOutage();
    const backMs = performance.now();
    await eventually(
      async () => second.adoptions.length,
      (count) => count > adoptions,
      `nobody leads again: ${leader.log().slice(-2_000)}`,
    );
    const tookMs = performance.now() - backMs;
    release();
    const end = await calls.follow(id);
    assertEndedOnce(end, agents, (await readPrefix(etcd.client(), cluster.keys.slots)).entries);
    return tookMs;
  } finally {
    etcd.thaw();
    await cluster.stop();
    await proxy.stop();
    await etcd.remove();
  }
}

/** The rollout has succeeded, every command was executed once and in its order, and no slot is held. */
export function assertEndedOnce(
  { id, phase, counts }: Pick<Rollout, 'id' | 'phase' | 'counts'>,
  agents: readonly Pick<ScriptedAgent, 'node' | 'executed'>[],
  slots: readonly unknown[],
): void {
  assert.deepEqual([phase, counts], ['succeeded', { done: agents.length }]);
  for (const { node, executed } of agents)
    assert.deepEqual(
      executed,
      forward.map((step) => `${id}.${node}.${step}`),
    );
  assert.deepEqual(slots, []);
}

/** Begins an outage; returns what ends it. */
async function begin(kind: Outage, etcd: RealEtcd, proxy: TcpProxy): Promise<() => Promise<void>> {
  switch (kind) {
    case 'frozen':
      etcd.freeze();
      return async () => etcd.thaw();
    case 'killed':
      await etcd.kill();
      return () => etcd.run();
    case 'lost':
      proxy.set('up', 'lose');
      proxy.set('down', 'lose');
      return async () => {
        // What was lost stays lost: as after a partition, the connections are no use any more.
        proxy.set('up', 'pass');
        proxy.set('down', 'pass');
      };
    case 'refused':
      proxy.refuse(true);
      return async () => proxy.refuse(false);
    case 'compacted':
      proxy.refuse(true);
      return async () => {
        const client = etcd.client();
        const { revision } = await readPrefix(client, '/');
        await client.kv.compact({ revision: String(revision), physical: true });
        proxy.refuse(false);
      };
  }
}
