/**
 * Real partitions: three members of etcd and two controllers, each in a network of its own, agents in
 * another. Whoever is cut off, and in whichever direction, the rollout goes on or waits, and ends with every
 * command executed once. Two of many ways; `test/deep/partitions.test.ts` has the others. Needs root;
 * elsewhere it is skipped.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { PlexiError } from '../../config/errors.js';
import { NodesServiceService } from '../../gen/plexi/v1/nodes.js';
import { addNodes, eventually } from './asking.test.part.js';
import { type Calls, type ReplicaProcess, TestCluster } from './cluster.test.part.js';
import { Networks, noNetworks } from './networks.test.part.js';
import { type Place, RealEtcd } from './real-etcd.test.part.js';
import type { ScriptedAgent } from './scripted-agent.test.part.js';

const controllers = ['controller-0', 'controller-1'];
const skip = noNetworks() ?? false;

describe('a rollout outlives a partition', { skip, concurrency: false }, () => {
  let networks: Networks;
  let members: RealEtcd[] = [];
  let places: Place[];
  let cluster: TestCluster | undefined;
  let agents: ScriptedAgent[];
  const calls = new Map<string, Calls>();
  const processes = new Map<string, ReplicaProcess>();
  let versions: string[];

  before(async () => {
    networks = new Networks();
    places = ['etcd-0', 'etcd-1', 'etcd-2'].map((name, index) => networks.place(name, 11 + index));
    const homes = controllers.map((name, index) =>
      networks.place(name.replace('controller', 'c'), 21 + index),
    );
    members = await RealEtcd.startThree(places);
    const [first] = members;
    assert.ok(first);
    const endpoints = members.flatMap((member) => member.connection().endpoints);
    const etcd = {
      folder: first.folder,
      connection: () => ({ endpoints, tls: first.tls }),
      client: () => first.client(),
    };
    cluster = await TestCluster.create('parted', etcd, networks.home, homes);
    for (const [index, name] of controllers.entries()) {
      const replica = await cluster.replicaProcess(name, {}, homes[index]);
      processes.set(name, replica);
      calls.set(name, await cluster.calls(replica.address));
    }
    agents = [];
    for (const node of ['node-1', 'node-2', 'node-3']) agents.push(await cluster.agent(node));
    await addNodes(callsOf('controller-0'), agents);
    versions = ['0b1', '0r1', '0b1', '0r1', '0b1', '0r1'];
  });
  after(async () => {
    await cluster?.stop();
    await Promise.all(members.map((member) => member.kill()));
    await members[0]?.remove();
    networks?.remove();
  });

  function callsOf(name: string): Calls {
    return calls.get(name) ?? assert.fail(`no ${name}`);
  }

  /** How often this controller has stepped down so far. */
  function leadsEnded(name: string): number {
    return (processes.get(name)?.log() ?? '').split('the lead is over').length - 1;
  }

  async function leader(asked: Calls): Promise<{ id: string; term: bigint }> {
    const { leader } = await eventually(
      () => asked.status().catch(() => undefined),
      (status) => status?.leader !== undefined,
      'nobody leads',
    ).then((status) => status ?? assert.fail());
    return leader ?? assert.fail();
  }

  /** A rollout with node-2 in flight, who leads it, and who does not. */
  async function inFlight() {
    const [, second] = agents;
    assert.ok(second);
    second.executed.length = 0;
    const release = second.hold('upgrade');
    const { id: leading, term } = await leader(callsOf('controller-0'));
    const other = controllers.find((name) => name !== leading) ?? '';
    const to = versions.shift() ?? '';
    const id = await callsOf(other).start({ to, downgrade: second.release.version === '0r1' });
    await second.begun('upgrade');
    return { id, to, release, leading, other, term, second, short: leading.replace('controller', 'c') };
  }

  async function endsWell(id: string, to: string, asked: Calls): Promise<void> {
    const end = await asked.follow(id);
    assert.deepEqual([end.phase, end.counts], ['succeeded', { done: 3 }]);
    for (const { node, executed, release } of agents) {
      assert.deepEqual(
        executed.filter((command) => command.startsWith(id)),
        ['preflight', 'stage', 'upgrade'].map((step) => `${id}.${node}.${step}.1`),
      );
      assert.equal(release.version, to);
    }
  }

  const cuts: [name: string, cut: (short: string) => () => void][] = [
    ['from etcd, and not from the agents', (short) => networks.cut(short, places)],
  ];
  for (const [name, cut] of cuts)
    test(`the leader is cut off ${name}`, { timeout: 60_000 }, async () => {
      const { id, to, release, leading, other, term, second, short } = await inFlight();
      const adoptions = second.adoptions.length;
      const ended = leadsEnded(leading);
      const join = cut(short);
      try {
        await eventually(
          () => leader(callsOf(other)),
          (now) => now.id === other && now.term > term,
          'the other one does not lead',
        );
        await eventually(
          async () => second.adoptions.length,
          (count) => count > adoptions,
          'the node in flight is not adopted',
        );
        await eventually(
          async () => leadsEnded(leading),
          (count) => count > ended,
          'the one that is cut off does not step down',
        );
        release();
        await endsWell(id, to, callsOf(other));
      } finally {
        join();
      }
      assert.equal((await leader(callsOf(leading))).id, other, 'who comes back does not take the lead');
    });

  const losses: [name: string, lose: (member: string) => () => void][] = [
    ['hears nobody', (member) => networks.deafen(member)],
  ];
  for (const [name, lose] of losses)
    test(`each member of etcd in turn ${name}`, { timeout: 60_000 }, async () => {
      const { id, to, release, other } = await inFlight();
      for (const member of ['etcd-0', 'etcd-1', 'etcd-2']) {
        const join = lose(member);
        try {
          await eventually(
            () =>
              callsOf(other)
                .ask(NodesServiceService.setHold, hold)
                .then(
                  () => true,
                  () => false,
                ),
            (done) => done,
            `no wish is fulfilled without ${member}`,
          );
        } finally {
          join();
        }
      }
      await eventually(
        () =>
          callsOf(other)
            .ask(NodesServiceService.setHold, { ...hold, on: false })
            .then(
              () => true,
              (thrown) => thrown instanceof PlexiError && thrown.code === 'CONFLICT',
            ),
        (done) => done,
        'the node is not released again',
      );
      release();
      await endsWell(id, to, callsOf(other));
    });
});

const hold = { nodeId: 'node-1', on: true, reason: 'a member is away' };
