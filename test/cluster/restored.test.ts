/**
 * An etcd that was restored from a snapshot (real ones: saved and restored with etcdctl): it is noticed,
 * by controllers that lived through it and by those that did not; nothing is sent before an operator says
 * `plexictl cluster re-epoch`; and after that no slot is taken before every node was adopted.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { readKey, readPrefix } from '../../controller/leadership/etcd.js';
import { readSlot } from '../../controller/state/codec.js';
import { AuditServiceService } from '../../gen/plexi/v1/audit.js';
import { ClusterServiceService } from '../../gen/plexi/v1/cluster.js';
import { NodesServiceService } from '../../gen/plexi/v1/nodes.js';
import { addNodes, eventually, refused } from './asking.test.part.js';
import { type Calls, type LocalReplica, TestCluster } from './cluster.test.part.js';
import { RealEtcd } from './real-etcd.test.part.js';
import type { ScriptedAgent } from './scripted-agent.test.part.js';

/** A cluster of three nodes on an etcd of its own, which can be restored. */
async function restorable(name: string) {
  const etcd = await RealEtcd.start();
  const cluster = await TestCluster.create(name, etcd);
  const replica = await cluster.replica('controller-0');
  const calls = await cluster.calls(replica.address);
  const agents = await Promise.all(['node-1', 'node-2', 'node-3'].map((node) => cluster.agent(node)));
  await addNodes(calls, agents);
  const stop = async (): Promise<void> => {
    await cluster.stop();
    await etcd.remove();
  };
  return { etcd, cluster, replica, calls, agents, file: join(etcd.folder, 'snapshot.db'), stop };
}

type Restorable = Awaited<ReturnType<typeof restorable>>;

function recoveryOf(calls: Calls) {
  return calls.ask(ClusterServiceService.get, {}).then(({ recovery }) => recovery);
}

function noticed(calls: Calls) {
  return eventually(
    () => recoveryOf(calls).catch(() => undefined),
    (recovery) => recovery?.state === 'refused',
    'the restore is not noticed',
  );
}

async function slotsOf({ etcd, cluster }: Restorable) {
  const { entries } = await readPrefix(etcd.client(), cluster.keys.slots);
  return entries.map(
    ({ key, value }) => [key.slice(cluster.keys.slots.length), readSlot(key, value)] as const,
  );
}

async function epochOf({ etcd, cluster }: Restorable): Promise<unknown> {
  return JSON.parse((await readKey(etcd.client(), cluster.keys.epoch)).entry?.value ?? '{}');
}

describe('etcd is restored', { concurrency: true }, () => {
  describe('to before a rollout that had begun', { concurrency: false }, () => {
    let all: Restorable;
    let release: () => void;
    let second: ScriptedAgent;
    let later: { replica: LocalReplica; calls: Calls };
    before(async () => {
      all = await restorable('forgotten');
    });
    after(() => all.stop());

    test('a controller that lived through it refuses every wish, and names the word', async () => {
      const [, node2] = all.agents;
      assert.ok(node2);
      second = node2;
      await all.etcd.snapshot(all.file);
      // The lead changes after the snapshot, so the nodes come to know a term that it does not hold.
      for (const on of [true, false])
        await all.calls.ask(NodesServiceService.setHold, { nodeId: 'node-1', on, reason: 'x' });
      await all.replica.stop();
      const survivor = await all.cluster.replica('controller-1');
      const calls = await all.cluster.calls(survivor.address);
      release = second.hold('upgrade');
      await calls.start({ to: '0b1' });
      await second.begun('upgrade');
      await all.etcd.restore(all.file);
      const recovery = await noticed(calls);
      assert.match(recovery?.reason ?? '', /restored from a snapshot.*plexictl cluster re-epoch/);
      for (const wish of [
        calls.start({ to: '0b1' }),
        calls.ask(NodesServiceService.setMaintenance, { nodeId: 'node-1', on: true, reason: 'x' }),
      ])
        await assert.rejects(wish, refused('ETCD_RESTORED', /plexictl cluster re-epoch/));
      await survivor.stop();
    });

    test('one that did not is told by the first node that answers, though its own terms are lower', async () => {
      // As if no controller had lived through it.
      await all.etcd.restore(all.file);
      const replica = await all.cluster.replica('controller-2');
      later = { replica, calls: await all.cluster.calls(replica.address) };
      const recovery = await noticed(later.calls);
      assert.match(recovery?.reason ?? '', /node-[123] knows term \d+, and etcd has only come to \d+/);
      const adoptions = all.agents.map((agent) => agent.adoptions.length);
      await assert.rejects(later.calls.start({ to: '0b1' }), refused('ETCD_RESTORED', /re-epoch/));
      assert.deepEqual(
        all.agents.map((agent) => agent.adoptions.length),
        adoptions,
        'nothing was sent to any node',
      );
    });

    test('re-epoch raises the epoch, adopts every node, and the node that is out gets a slot', async () => {
      const beforeSeconds = Math.floor(Date.now() / 1_000);
      const answer = await later.calls.ask(ClusterServiceService.reEpoch, { reason: 'restored from Monday' });
      assert.ok(answer.epoch >= BigInt(beforeSeconds));
      assert.equal(answer.previousEpoch, 1n);
      assert.deepEqual(
        answer.nodes.map(({ id, reached, seenEpoch, adopted }) => [id, reached, seenEpoch, adopted]),
        all.agents.map(({ node }) => [node, true, 1n, true]),
      );
      const { leader } = await eventually(
        () => later.calls.status(),
        (status) => status.leader?.epoch === answer.epoch,
        'nobody leads in the new epoch',
      );
      assert.equal(leader?.id, 'controller-2');
      const slots = await slotsOf(all);
      assert.deepEqual(
        slots.map(([key, { node }]) => [key, node]),
        [['stuck-node-2', 'node-2']],
        'its agent says that it is out, and etcd knows no rollout',
      );
      assert.match(slots[0]?.[1].reason ?? '', /since update_0a1_0b1_\d+_\d+\.node-2\.upgrade\.1/);
      const stored = await epochOf(all);
      assert.deepEqual(
        { ...(stored as object), since: 'then' },
        {
          epoch: Number(answer.epoch),
          recovering: false,
          by: 'op',
          reason: 'restored from Monday',
          since: 'then',
        },
      );
      assert.equal(await recoveryOf(later.calls), undefined, 'all of it is over');
    });

    test('the word stands in the audit record, which is one chain across the restore', async () => {
      const request = { limit: 1_000, verify: true };
      const { records, verification } = await later.calls.ask(AuditServiceService.list, request);
      assert.equal(verification?.problem, '');
      const words = records
        .map(({ json }) => JSON.parse(json))
        .filter(({ what, wish }) => what === 'wish' && wish === 're_epoch');
      const { epoch } = (await later.calls.status()).leader ?? {};
      assert.deepEqual(
        words.map(({ who, reason, details, error }) => [who, reason, details, error]),
        [['op', 'restored from Monday', { epoch: String(epoch), previousEpoch: '1' }, null]],
      );
    });

    test('once an operator confirmed that node the cluster rolls out as before', async () => {
      release();
      const order = { nodeId: 'node-2', version: '0b1', directory: '', confirm: true, reason: 'looked at' };
      await later.calls.ask(NodesServiceService.takeOver, order);
      assert.deepEqual(await slotsOf(all), []);
      // What it runs is what the operator said; the scripted one makes up a digest for that.
      const id = await later.calls.start({ to: '0r1', force: true });
      assert.equal((await later.calls.follow(id)).phase, 'succeeded');
      assert.deepEqual(
        all.agents.map((agent) => agent.release.version),
        ['0r1', '0r1', '0r1'],
      );
    });
  });

  describe('to a time of the same lead, and no controller lived through it', { concurrency: false }, () => {
    let all: Restorable;
    before(async () => {
      all = await restorable('same-lead');
    });
    after(() => all.stop());

    test('a node that was commanded since tells it, and no node is adopted before', async () => {
      const [first] = all.agents;
      assert.ok(first);
      await all.calls.follow(await all.calls.start({ to: '0b1' }));
      await all.etcd.snapshot(all.file);
      const { leader } = await all.calls.status();
      const out = { nodeId: first.node, on: true, reason: 'new disks' };
      await all.calls.ask(NodesServiceService.setMaintenance, out);
      await eventually(
        async () => first.executed.length,
        (count) => count === 4,
        'it is not taken out',
      );
      assert.deepEqual((await all.calls.status()).leader, leader, 'the lead did not change');
      await all.replica.stop();
      await all.etcd.restore(all.file);
      const adoptions = all.agents.map((agent) => agent.adoptions.length);
      const replica = await all.cluster.replica('controller-1');
      const calls = await all.cluster.calls(replica.address);
      const { reason = '' } = (await noticed(calls)) ?? {};
      assert.match(reason, /node-1 knows record \d+ of the audit from term \d+, and etcd does not/);
      await assert.rejects(calls.start({ to: '0r1' }), refused('ETCD_RESTORED', /re-epoch/));
      assert.deepEqual(
        all.agents.map((agent) => agent.adoptions.length),
        adoptions,
      );
      await calls.ask(ClusterServiceService.reEpoch, { reason: 'it was meant' });
      assert.deepEqual(
        (await slotsOf(all)).map(([, { node }]) => node),
        ['node-1'],
        'the maintenance that etcd had forgotten',
      );
    });
  });

  describe('to before nothing that a node knows of', { concurrency: false }, () => {
    let all: Restorable;
    before(async () => {
      all = await restorable('nothing-lost');
    });
    after(() => all.stop());

    test('it goes on as before, because nothing that was sent is forgotten', async () => {
      await all.calls.follow(await all.calls.start({ to: '0b1' }));
      await all.etcd.snapshot(all.file);
      await all.replica.stop();
      await all.etcd.restore(all.file);
      const replica = await all.cluster.replica('controller-1');
      const calls = await all.cluster.calls(replica.address);
      await eventually(
        () => calls.status().catch(() => undefined),
        (status) => status?.leader?.id === 'controller-1',
        'nobody leads',
      );
      const id = await calls.start({ to: '0r1' });
      assert.equal((await calls.follow(id)).phase, 'succeeded');
      assert.equal(await recoveryOf(calls), undefined);
    });
  });

  describe('to the middle of a rollout that has gone on since', { concurrency: false }, () => {
    let all: Restorable;
    before(async () => {
      all = await restorable('middle');
    });
    after(() => all.stop());

    test('after re-epoch it goes on from what the agents say, and no command is executed twice', async () => {
      const [first, second, third] = all.agents;
      assert.ok(first && second && third);
      const releases = [first.hold('upgrade'), second.hold('upgrade')];
      const id = await all.calls.start({ to: '0b1' });
      await first.begun('upgrade');
      await all.etcd.snapshot(all.file);
      releases[0]?.();
      await second.begun('upgrade');
      await all.etcd.restore(all.file);
      await noticed(all.calls);
      await all.replica.stop();
      const replica = await all.cluster.replica('controller-1');
      const calls = await all.cluster.calls(replica.address);
      assert.deepEqual(
        (await slotsOf(all)).map(([key, { node }]) => [key, node]),
        [['0', 'node-1']],
        'etcd has node-1 out, which is back, and does not know that node-2 is',
      );
      const { nodes } = await calls.ask(ClusterServiceService.reEpoch, { reason: '' });
      assert.ok(nodes.every(({ adopted }) => adopted));
      // node-1 keeps its slot until its soak is over; that is the one that is above the budget.
      assert.ok((await slotsOf(all)).some(([, { node }]) => node === 'node-2'));
      assert.ok(!third.executed.some((command) => command.includes('.upgrade.')));
      releases[1]?.();
      const { phase, counts } = await calls.follow(id);
      assert.deepEqual([phase, counts], ['succeeded', { done: 3 }]);
      for (const { node, executed } of all.agents)
        assert.deepEqual(
          executed,
          ['preflight', 'stage', 'upgrade'].map((step) => `${id}.${node}.${step}.1`),
        );
      assert.deepEqual(await slotsOf(all), []);
    });
  });

  describe('and a node is away when the epoch is raised', { concurrency: false }, () => {
    let all: Restorable;
    let calls: Calls;
    let away: ScriptedAgent;
    before(async () => {
      all = await restorable('away');
    });
    after(() => all.stop());

    test('no slot is taken before it was adopted, and every node says so', async () => {
      const third = all.agents[2];
      assert.ok(third);
      away = third;
      await all.etcd.snapshot(all.file);
      await all.calls.ask(NodesServiceService.setHold, { nodeId: 'node-1', on: true, reason: 'x' });
      await all.replica.stop();
      await all.etcd.restore(all.file);
      await away.goAway();
      const replica = await all.cluster.replica('controller-1');
      calls = await all.cluster.calls(replica.address);
      // Nothing was sent in that time, so no node can tell; the operator knows all the same.
      const { nodes } = await calls.ask(ClusterServiceService.reEpoch, { reason: 'restored' });
      assert.deepEqual(
        nodes.map(({ id, reached, adopted }) => [id, reached, adopted]),
        [
          ['node-1', true, true],
          ['node-2', true, true],
          ['node-3', false, false],
        ],
      );
      const recovery = await recoveryOf(calls);
      assert.deepEqual([recovery?.state, recovery?.awaited], ['adopting', ['node-3']]);
      await assert.rejects(
        calls.ask(NodesServiceService.setMaintenance, { nodeId: 'node-1', on: true, reason: 'x' }),
        refused('ETCD_RESTORED', /plexictl why node-1/),
      );
      const id = await calls.start({ to: '0b1', exclude: ['node-3'], force: true });
      const { rollout } = await eventually(
        () => calls.status(id),
        (status) => status.rollout?.nodes.every(({ phase }) => phase === 'ready') ?? false,
        'it does not come to its first slot',
      );
      for (const node of rollout?.nodes ?? [])
        assert.ok(
          node.waitingOn.some(({ reason }) => /not every node was adopted/.test(reason)),
          JSON.stringify(node.waitingOn),
        );
      assert.deepEqual(await slotsOf(all), []);
    });

    test('it comes back, is adopted, and the rollout takes its slots', async () => {
      const { rollout } = await calls.status();
      await away.comeBack();
      assert.equal((await calls.follow(rollout?.id ?? '')).phase, 'succeeded');
      assert.equal(await recoveryOf(calls), undefined);
      assert.equal(away.release.version, '0a1', 'it was left out, and only adopted');
    });
  });

  describe('and a node never comes back', { concurrency: false }, () => {
    let all: Restorable;
    before(async () => {
      all = await restorable('gone');
    });
    after(() => all.stop());

    test('its removal ends the waiting', async () => {
      await all.agents[2]?.goAway();
      await all.calls.ask(ClusterServiceService.reEpoch, { reason: '' });
      assert.deepEqual((await recoveryOf(all.calls))?.awaited, ['node-3']);
      await all.calls.ask(NodesServiceService.remove, { nodeId: 'node-3', reason: 'burnt' });
      assert.equal(await recoveryOf(all.calls), undefined);
      const id = await all.calls.start({ to: '0b1' });
      assert.equal((await all.calls.follow(id)).phase, 'succeeded');
    });
  });
});
