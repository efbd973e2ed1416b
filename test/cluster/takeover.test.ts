/**
 * The lead goes from one controller to the next while nodes work: whoever comes next adopts those that are
 * out before it sends them anything, what is under way goes on, and an old leader that wakes up does
 * nothing. On one real etcd, with agents that play a script.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { readKey, readPrefix } from '../../controller/leadership/etcd.js';
import { readSlot } from '../../controller/state/codec.js';
import { ClusterServiceService } from '../../gen/plexi/v1/cluster.js';
import { addNodes, eventually, keyThatExpires } from './asking.test.part.js';
import { type Calls, TestCluster } from './cluster.test.part.js';
import { RealEtcd } from './real-etcd.test.part.js';
import type { ScriptedAgent } from './scripted-agent.test.part.js';

const names = ['node-1', 'node-2', 'node-3', 'node-4'];
/** Seconds; as short as a lease may be, where one has to expire. */
const ttlSeconds = 2;

let etcd: RealEtcd;
before(async () => {
  etcd = await RealEtcd.start();
});
after(() => etcd.remove());

async function leads(calls: Calls, id: string): Promise<void> {
  await eventually(
    () => calls.status().catch(() => undefined),
    (status) => status?.leader?.id === id,
    `${id} does not lead`,
  );
}

async function slotHolders(cluster: TestCluster): Promise<string[]> {
  const { entries } = await readPrefix(etcd.client(), cluster.keys.slots);
  return entries.map(({ key, value }) => readSlot(key, value).node).sort();
}

/** The node was adopted by the leader of a later term than it knew. */
async function adoptedAnew(agent: ScriptedAgent, known: number): Promise<void> {
  await eventually(
    async () => agent.adoptions.length,
    (count) => count > known,
    `${agent.node} is not adopted`,
  );
}

function assertOnce(agents: readonly ScriptedAgent[], id: string): void {
  for (const { node, executed } of agents)
    assert.deepEqual(
      executed.filter((command) => command.startsWith(id)),
      ['preflight', 'stage', 'upgrade'].map((step) => `${id}.${node}.${step}.1`),
    );
}

/** Three of four nodes in flight, and the process that leads. */
async function threeInFlight(name: string, changes: Record<string, unknown> = {}) {
  const cluster = await TestCluster.create(name, etcd);
  const first = await cluster.replicaProcess('controller-0', changes);
  await leads(await cluster.calls(first.address), 'controller-0');
  const second = await cluster.replica('controller-1', changes);
  const calls = await cluster.calls(second.address);
  const agents = await Promise.all(names.map((node) => cluster.agent(node)));
  await addNodes(calls, agents);
  const releases = agents.slice(0, 3).map((agent) => agent.hold('upgrade'));
  const id = await calls.start({ to: '0b1', maxConcurrent: 3 });
  await Promise.all(agents.slice(0, 3).map((agent) => agent.begun('upgrade')));
  const known = agents.map((agent) => agent.adoptions.length);
  const contacts = agents.map((agent) => agent.contacts.length);
  return { cluster, first, calls, agents, releases, id, known, contacts };
}

describe('the lead goes to another controller', { concurrency: 2 }, () => {
  describe('with three nodes in flight, one of which cannot be reached', { concurrency: false }, () => {
    let all: Awaited<ReturnType<typeof threeInFlight>>;
    before(async () => {
      all = await threeInFlight('holders');
    });
    after(() => all.cluster.stop());

    test('the others are adopted before anything is sent, and it keeps its slot and is sent nothing', async () => {
      const [one, two, three, four] = all.agents;
      assert.ok(one && two && three && four);
      await three.goAway();
      await all.first.kill('SIGKILL');
      await leads(all.calls, 'controller-1');
      await Promise.all([adoptedAnew(one, all.known[0] ?? 0), adoptedAnew(two, all.known[1] ?? 0)]);
      for (const [index, agent] of [one, two].entries())
        assert.equal(
          agent.contacts[all.contacts[index] ?? 0],
          'adopt',
          `${agent.node} was sent a command first`,
        );
      all.releases[0]?.();
      all.releases[1]?.();
      await eventually(
        () => all.calls.status(all.id),
        ({ rollout }) => rollout?.counts.done === 3,
        'the three that can be reached do not finish',
      );
      assert.deepEqual(await slotHolders(all.cluster), ['node-3']);
      const { rollout } = await all.calls.status(all.id);
      const away = rollout?.nodes.find((node) => node.id === 'node-3');
      assert.deepEqual([away?.unknown, away?.phase, away?.error], [true, 'entering_maintenance', undefined]);
      assert.equal(three.contacts.length, all.contacts[2], 'nothing was sent to it');
    });

    test('it comes back, is adopted, and ends what it had begun', async () => {
      const three = all.agents[2];
      assert.ok(three);
      await three.comeBack();
      await adoptedAnew(three, all.known[2] ?? 0);
      assert.equal(three.contacts[all.contacts[2] ?? 0], 'adopt');
      all.releases[2]?.();
      const end = await all.calls.follow(all.id);
      assert.deepEqual([end.phase, end.counts], ['succeeded', { done: 4 }]);
      assertOnce(all.agents, all.id);
    });
  });

  describe('because its program is told to stop', { concurrency: false }, () => {
    let all: Awaited<ReturnType<typeof threeInFlight>>;
    before(async () => {
      // A lease that nobody could wait for here.
      all = await threeInFlight('handed-over', { leadership: { ttl_seconds: 60, margin_ms: 5_000 } });
    });
    after(() => all.cluster.stop());

    test('the next one adopts without waiting for a lease, and no step in flight is lost', async (t) => {
      const known = all.agents[0]?.adoptions.length ?? 0;
      const beganMs = performance.now();
      const ended = all.first.kill('SIGTERM');
      const [one] = all.agents;
      assert.ok(one);
      await adoptedAnew(one, known);
      t.diagnostic(`from SIGTERM to the first adoption: ${Math.round(performance.now() - beganMs)} ms`);
      await ended;
      for (const release of all.releases) release();
      assert.equal((await all.calls.follow(all.id)).phase, 'succeeded');
      assertOnce(all.agents, all.id);
    });
  });

  describe('because its process is killed', { concurrency: false }, () => {
    let all: Awaited<ReturnType<typeof threeInFlight>>;
    before(async () => {
      all = await threeInFlight('died');
    });
    after(() => all.cluster.stop());

    test('the next one adopts once the lease is over', async (t) => {
      const [one] = all.agents;
      assert.ok(one);
      const { entry } = await readKey(etcd.client(), all.cluster.keys.leader);
      assert.ok(entry);
      const beganMs = performance.now();
      await all.first.kill('SIGKILL');
      await adoptedAnew(one, all.known[0] ?? 0);
      const tookMs = Math.round(performance.now() - beganMs);
      t.diagnostic(`from kill -9 to the next leader's first adoption: ${tookMs} ms, TTL ${ttlSeconds} s`);
      const { TTL } = await etcd.client().leaseClient.leaseTimeToLive({ ID: entry.lease });
      assert.equal(Number(TTL), -1, 'it was adopted under a lease that somebody else held');
      const terms = one.adoptions.slice(all.known[0] ?? 0);
      assert.ok(terms.length === 1 && (terms[0] ?? 0n) > entry.createRevision, `adopted by ${terms.join()}`);
      for (const release of all.releases) release();
      assert.equal((await all.calls.follow(all.id)).phase, 'succeeded');
      assertOnce(all.agents, all.id);
    });
  });

  describe('because its process is stopped for twice its lease', { concurrency: false }, () => {
    let all: Awaited<ReturnType<typeof threeInFlight>>;
    before(async () => {
      all = await threeInFlight('asleep');
    });
    after(() => all.cluster.stop());

    test('it wakes up, sends and changes nothing, and is a standby that answers', async () => {
      const { entry } = await readKey(etcd.client(), all.cluster.keys.leader);
      all.first.process.kill('SIGSTOP');
      const twiceTheLease = await keyThatExpires(etcd.client(), 'twice-the-lease', 2 * ttlSeconds);
      await leads(all.calls, 'controller-1');
      await Promise.all(
        all.agents.slice(0, 3).map((agent, index) => adoptedAnew(agent, all.known[index] ?? 0)),
      );
      all.releases[0]?.();
      await eventually(
        () => all.calls.status(all.id),
        ({ rollout }) => (rollout?.counts.done ?? 0) >= 1,
        'the new leader does not go on',
      );
      const terms = all.agents.map((agent) => agent.adoptions.at(-1));
      await twiceTheLease();
      const sent = all.agents.map((agent) => agent.contactTerms.length);
      all.first.process.kill('SIGCONT');
      await eventually(
        async () => all.first.log(),
        (log) => log.includes('the lead is over'),
        'the old leader does not notice',
      );
      for (const release of all.releases) release();
      const end = await all.calls.follow(all.id);
      assert.deepEqual([end.phase, end.counts], ['succeeded', { done: 4 }]);
      assertOnce(all.agents, all.id);
      const { leader } = await all.calls.status();
      assert.equal(leader?.id, 'controller-1', 'the one that woke up does not take the lead back');
      assert.ok((leader?.term ?? 0n) > (entry?.createRevision ?? 0n));
      for (const [index, agent] of all.agents.slice(0, 3).entries())
        assert.equal(agent.adoptions.at(-1), terms[index], `${agent.node} was adopted by the older one`);
      for (const [index, { node, contactTerms }] of all.agents.entries())
        for (const term of contactTerms.slice(sent[index]))
          assert.equal(term, leader?.term, `${node} was sent something by the older one`);
      const standby = await all.cluster.calls(all.first.address);
      assert.equal((await standby.status()).leader?.id, 'controller-1');
      await eventually(
        () => standby.ask(ClusterServiceService.get, {}),
        ({ controllers }) => controllers.map(({ id }) => id).join() === 'controller-0,controller-1',
        'it does not say again that it lives',
      );
    });
  });

  describe('because every lease is revoked at once', { concurrency: false }, () => {
    let all: Awaited<ReturnType<typeof threeInFlight>>;
    before(async () => {
      all = await threeInFlight('revoked');
    });
    after(() => all.cluster.stop());

    test('one of them leads again, all say that they live, and the rollout ends', async () => {
      const before = await all.calls.status(all.id);
      const { entries } = await readPrefix(etcd.client(), all.cluster.keys.prefix);
      const leases = new Set(entries.map(({ lease }) => lease).filter((lease) => lease !== '0'));
      assert.equal(leases.size, 3, 'the leader and two controllers that live');
      await Promise.all([...leases].map((ID) => etcd.client().leaseClient.leaseRevoke({ ID })));
      await eventually(
        () => all.calls.status(all.id),
        ({ leader }) => (leader?.term ?? 0n) > (before.leader?.term ?? 0n),
        'nobody leads',
      );
      for (const release of all.releases) release();
      assert.equal((await all.calls.follow(all.id)).phase, 'succeeded');
      assertOnce(all.agents, all.id);
      const { controllers } = await eventually(
        () => all.calls.ask(ClusterServiceService.get, {}),
        ({ controllers }) => controllers.length === 2,
        'not all of them say that they live',
      );
      assert.deepEqual(controllers.map(({ id }) => id).sort(), ['controller-0', 'controller-1']);
    });
  });
});
