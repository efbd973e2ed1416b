/**
 * Everything that may stand in etcd for one cluster, as the product writes it: a rollout in the middle of
 * its way, nodes with all their keys, slots, wishes and their outcomes, the leader, its controllers.
 */
import assert from 'node:assert/strict';
import {
  freezeDocument,
  leaderDocument,
  nodeListDocument,
  rolloutDocument,
} from '../../controller/api/documents.js';
import {
  freezeOf,
  liveControllers,
  nodeFacts,
  startProblems,
} from '../../controller/execution/cluster-facts.js';
import { buildCommand, buildMaintenance, buildTakeOver } from '../../controller/execution/commands.js';
import type { EtcdEntry } from '../../controller/leadership/etcd.js';
import { advance } from '../../controller/rollout/advance.js';
import { isStuck } from '../../controller/rollout/budget.js';
import type { Effect } from '../../controller/rollout/events.js';
import type { World } from '../../controller/rollout/world.js';
import { loadWorld } from '../../controller/state/load-world.js';
import { readNodes } from '../../controller/state/node-store.js';
import { decode } from '../../controller/state/records.js';
import { intentRecord, outcomeRecord } from '../../controller/state/wish-records.js';
import { changedGroups } from '../../controller/state/world-writes.js';
import { ClusterServiceGetResponse } from '../../gen/plexi/v1/cluster.js';
import { Command } from '../../gen/plexi/v1/node_agent.js';
import { NodesServiceListResponse } from '../../gen/plexi/v1/nodes.js';
import { GetResponse } from '../../gen/plexi/v1/rollouts.js';
import { ModelEtcd } from '../scenarios/model-etcd.test.part.js';
import { keys, ModelLeader } from '../scenarios/model-leader.test.part.js';
import { sampleNode, samplePlan } from '../scenarios/sample-plan.test.part.js';

export { keys };

export const rolloutId = 'update_0a1_0b1_20241219_120000';
/** The leader's clock. */
const nowMs = Date.UTC(2024, 11, 19, 12, 0, 0);
const since = '2024-12-19T12:00:00.000Z';
const names = ['node-1', 'node-2', 'node-3'];
const by = { by: 'ada', at: since };

/** The entries of the cluster, by key. */
export function storedCluster(): EtcdEntry[] {
  const store = new ModelEtcd();
  const { plan, problems } = samplePlan({ nodes: names.map((name) => sampleNode(name, '0a1')), to: '0b1' });
  assert.deepEqual(problems, []);
  const leader = new ModelLeader(store, 1, 7n, 100, nowMs);
  leader.start(rolloutId, plan, nowMs);
  for (const node of names) {
    leader.step([{ kind: 'unreachable', node }], nowMs + 1);
  }
  const digest = 'd'.repeat(64);
  for (const name of names) {
    store.put(keys.nodeSpec(name), {
      ...{ address: '10.0.0.1:7401', labels: { zone: 'a' }, fingerprint: 'AA:BB', installId: 'one' },
      ...{ counter: '4294967297', removed: false },
    });
    store.put(keys.nodeStatus(name), {
      ...{ version: '0a1', digest, phase: 'idle', health: 'healthy', healthReason: '', unknown: false },
      ...{ inMaintenance: false, needsOperator: '', agentVersion: '0.1.0', os: 'linux', arch: 'x64', since },
    });
  }
  store.put(keys.nodeHold('node-2'), { reason: 'new disks', by: 'ada', since });
  store.put(keys.nodeOrder('node-3'), {
    ...{ kind: 'adopt', version: '0a1', directory: '/srv/chat', reason: '', by: 'ada', since },
    ...{ state: 'open', message: '', digest: '' },
  });
  const slot = { node: 'node-3', reason: 'new disks', rollout: '', term: '7', since };
  store.put(keys.slot('0'), {
    ...slot,
    maintenance: { wanted: 'in', attempt: 1, reason: 'disks', failed: false },
  });
  store.put(keys.slot('stuck-node-2'), { ...slot, node: 'node-2', rollout: rolloutId });
  store.put(keys.epoch, { epoch: 1 });
  store.put(keys.lineage, { terms: [{ term: '7', nonce: 'n' }] });
  store.put(keys.leader, { id: 'controller-1', address: '10.0.0.9:7400', epoch: 1, since });
  store.put(keys.controller('controller-1'), {
    address: '10.0.0.9:7400',
    version: '0.1.0',
    policyDigest: digest,
    since,
  });
  store.put(keys.freeze, { reason: 'holidays', by: 'ada', since });
  store.put(keys.intent('41'), { kind: 'maintenance', ...by, node: 'node-1', on: true, reason: 'disks' });
  store.put(keys.rolloutIntent(rolloutId, '42'), { kind: 'abort', ...by, rollback: true, reason: 'enough' });
  store.put(keys.outcome('40'), {
    at: since,
    rollout: null,
    nothingToDo: false,
    error: { code: 'CONFLICT', message: 'no' },
  });
  return store.entries();
}

/**
 * Everything that controllers do with what stands in etcd: load it, answer from it, decide on it, write
 * it again, and command by it. What is thrown is what the product would have thrown.
 */
export function useAll(entries: readonly EtcdEntry[]): void {
  const world = loadWorld(keys, entries, 1, 7n, new Map(), nowMs);
  answer(world, entries);
  for (const entry of entries) {
    if (entry.key.includes('/intents/')) decode(intentRecord, entry.key, entry.value);
    if (entry.key.startsWith(keys.outcomes)) decode(outcomeRecord, entry.key, entry.value);
  }
  const byKey = new Map(entries.map((entry) => [entry.key, entry]));
  const { world: after, effects } = advance(world, [{ kind: 'tick' }], nowMs + 60_000);
  changedGroups(keys, world, after, (key) => byKey.get(key), { slots: 0n, intents: 0n, labels: 0n });
  for (const effect of effects) if (effect.kind === 'send') command(effect, after);
  for (const part of world.rollout?.plan.parts ?? []) {
    if (world.rollout === undefined) continue;
    for (const kind of ['preflight', 'stage', 'upgrade', 'revert', 'roll_back'] as const)
      Command.encode(
        buildCommand(world.rollout, part, { kind, id: 'c', attempt: 1 }, token, new Date(nowMs)),
      ).finish();
  }
}

const token = { epoch: 1n, term: 7n, seq: 1n };

/** What the replicas tell, down to the bytes. */
function answer(world: World, entries: readonly EtcdEntry[]): void {
  const leader = leaderDocument(
    keys,
    entries.find(({ key }) => key === keys.leader),
  );
  const freeze = freezeDocument(freezeOf(keys, entries));
  const rollout = world.rollout && rolloutDocument(world.rollout);
  const status = { ...(leader && { leader }), ...(freeze && { freeze }), ...(rollout && { rollout }) };
  GetResponse.encode(GetResponse.fromPartial({ status })).finish();
  const controllers = liveControllers(keys, entries).map((one) => ({ ...one, since: new Date(one.since) }));
  ClusterServiceGetResponse.encode(
    ClusterServiceGetResponse.fromPartial({ cluster: 'paper', controllers }),
  ).finish();
  startProblems(keys, entries);
  const facts = new Map(nodeFacts(keys, entries).map((node) => [node.id, node]));
  const nodes = readNodes(keys, entries).flatMap((stored) => {
    const known = facts.get(stored.id);
    const [name, slot] = [...world.slots].find(([, held]) => held.node === stored.id) ?? [];
    if (known === undefined) return [];
    return [
      nodeListDocument({ ...stored, facts: known, slot, isStuck: name !== undefined && isStuck(name) }),
    ];
  });
  NodesServiceListResponse.encode(NodesServiceListResponse.fromPartial({ nodes })).finish();
}

function command(effect: Extract<Effect, { kind: 'send' }>, world: World): void {
  const { command: open, node } = effect;
  const slot = [...world.slots.values()].find((held) => held.node === node);
  const order = world.orders.get(node);
  if (open.kind === 'maintenance' && slot !== undefined)
    Command.encode(buildMaintenance(slot, open, token, 1)).finish();
  if (open.kind === 'take_over' && order !== undefined)
    Command.encode(buildTakeOver(order, open, token)).finish();
}
