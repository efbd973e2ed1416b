/**
 * Replicas of a controller on one real etcd, with agents that play a script: any replica answers any
 * call, a wish is in force once, and a rollout outlives the replica that leads it.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { readKey, readPrefix, transact } from '../../controller/leadership/etcd.js';
import { NodesServiceService } from '../../gen/plexi/v1/nodes.js';
import { RolloutsServiceService } from '../../gen/plexi/v1/rollouts.js';
import { addNodes, eventually, refused } from './asking.test.part.js';
import {
  type Calls,
  type LocalReplica,
  type ReplicaProcess,
  releaseOf,
  TestCluster,
} from './cluster.test.part.js';
import { RealEtcd } from './real-etcd.test.part.js';
import type { ScriptedAgent } from './scripted-agent.test.part.js';

let etcd: RealEtcd;
before(async () => {
  etcd = await RealEtcd.start();
});
after(() => etcd.remove());

/** Each command of a rollout was executed once, on every node. */
function assertExecutedOnce(agents: readonly ScriptedAgent[], rollout: string): void {
  for (const { node, executed } of agents) {
    const ours = executed.filter((id) => id.startsWith(`${rollout}.`));
    const expected = ['preflight', 'stage', 'upgrade'].map((step) => `${rollout}.${node}.${step}.1`);
    assert.deepEqual(ours, expected);
  }
}

describe('replicas', { concurrency: true }, () => {
  describe('a leader and a follower', { concurrency: false }, () => {
    let cluster: TestCluster;
    let leading: LocalReplica;
    let leader: Calls;
    let follower: Calls;
    let agents: ScriptedAgent[];

    before(async () => {
      cluster = await TestCluster.create('pair', etcd);
      // A lease that nobody could wait for here.
      const leadership = { ttl_seconds: 60, margin_ms: 5_000 };
      leading = await cluster.replica('controller-0', { leadership });
      leader = await cluster.calls(leading.address);
      await eventually(
        () => leader.status(),
        ({ leader }) => leader !== undefined,
        'nobody leads',
      );
      follower = await cluster.calls((await cluster.replica('controller-1')).address);
      agents = [await cluster.agent('node-1'), await cluster.agent('node-2'), await cluster.agent('node-3')];
      await addNodes(follower, agents);
    });
    after(() => cluster.stop());

    test('both answer alike, and name the leader', async () => {
      for (const calls of [leader, follower]) {
        const { leader: named, rollout } = await calls.status();
        assert.deepEqual([named?.id, named?.address, named?.epoch], ['controller-0', leading.address, 1n]);
        assert.equal(rollout, undefined, 'there never was a rollout');
        assert.deepEqual((await calls.ask(RolloutsServiceService.list, { limit: 0 })).rollouts, []);
        const { nodes } = await calls.ask(NodesServiceService.list, {});
        assert.deepEqual(
          nodes.map(({ id, version, health, inService }) => [id, version, health, inService]),
          agents.map(({ node }) => [node, '0a1', 'healthy', true]),
        );
      }
      assert.deepEqual(await leader.plan({ to: '0b1' }), await follower.plan({ to: '0b1' }));
    });

    test('a viewer may look at everything, and start nothing', async () => {
      const viewer = await cluster.calls(leading.address, 'viewer', 'eye');
      assert.equal((await viewer.plan({ to: '0b1' })).nodes.length, 3);
      assert.equal((await viewer.status()).leader?.id, 'controller-0');
      for (const refusal of [
        viewer.start({ to: '0b1' }),
        viewer.ask(RolloutsServiceService.pause, { id: '', reason: '' }),
        viewer.ask(NodesServiceService.remove, { nodeId: 'node-1', reason: '' }),
      ]) {
        await assert.rejects(refusal, refused('FORBIDDEN', /^viewer eye of cluster pair may not call/));
      }
      assert.deepEqual((await readPrefix(etcd.client(), cluster.keys.intents)).entries, []);
    });

    test('a wish without an active rollout, and one with nonsense in it, are refused at once', async () => {
      await assert.rejects(
        follower.ask(RolloutsServiceService.pause, { id: '', reason: '' }),
        refused('NO_ROLLOUT_ACTIVE'),
      );
      await assert.rejects(follower.start({ to: '' }), refused('USAGE'));
      await assert.rejects(follower.start({ to: '9c9' }), refused('RELEASE_NOT_FOUND'));
      await assert.rejects(follower.status('update_none'), refused('NOT_FOUND'));
      await assert.rejects(
        follower.start({ to: '0b1', nodes: ['node-9'] }),
        refused('PLAN_REFUSED', /node-9/),
      );
    });

    test('a start whose plan has changed in between is refused, and nothing starts', async () => {
      const { digest } = await follower.plan({ to: '0b1' });
      const node = { nodeId: 'node-4', address: '127.0.0.1:1', labels: {} };
      await follower.ask(NodesServiceService.add, node);
      await assert.rejects(follower.start({ to: '0b1' }, 'first', digest), refused('PLAN_CHANGED'));
      assert.equal((await leader.status()).rollout, undefined);
      await follower.ask(NodesServiceService.remove, { nodeId: 'node-4', reason: 'a test' });
      assert.equal((await follower.plan({ to: '0b1' })).digest, digest);
    });

    test('a rollout started at the follower runs to its end, and both tell the same of it', async () => {
      const holding = agents.map((agent) => agent.hold('upgrade'));
      const plan = await follower.plan({ to: '0b1' });
      const id = await follower.start({ to: '0b1' }, 'request-1', plan.digest);
      assert.match(id, /^update_0a1_0b1_\d{8}_\d{6}$/);
      assert.equal(
        await leader.start({ to: '0b1' }, 'request-1'),
        id,
        'the same request is the same rollout',
      );
      await assert.rejects(
        leader.start({ to: '0b1' }, 'request-2'),
        refused('ROLLOUT_ACTIVE', new RegExp(id)),
      );
      await assert.rejects(follower.start({ to: '0r1' }), refused('ROLLOUT_ACTIVE', new RegExp(id)));
      const ends = [leader.follow(id), follower.follow(id)];
      for (const release of holding) release();
      for (const end of await Promise.all(ends)) {
        assert.deepEqual([end.phase, end.exitCode, end.startedBy], ['succeeded', 0, 'op']);
        assert.deepEqual(end.counts, { done: 3 });
        assert.equal(end.planDigest, plan.digest);
      }
      assertExecutedOnce(agents, id);
      const history = await follower.ask(RolloutsServiceService.list, { limit: 5 });
      assert.deepEqual(
        history.rollouts.map((rollout) => [rollout.id, rollout.nodes.length]),
        [[id, 0]],
      );
      assert.equal((await leader.status()).rollout?.id, id, 'the last one is shown when none is active');
      assert.equal(await follower.start({ to: '0b1' }), '', 'there is nothing left to do');
      assert.deepEqual((await readPrefix(etcd.client(), cluster.keys.slots)).entries, [], 'no slot is held');
    });

    test('the same request after the end is still the same rollout', async () => {
      const before = await leader.ask(RolloutsServiceService.list, { limit: 0 });
      const [last] = before.rollouts;
      assert.equal(await follower.start({ to: '0r1' }, 'request-1'), last?.id);
      const later = await leader.ask(RolloutsServiceService.list, { limit: 0 });
      assert.equal(later.rollouts.length, before.rollouts.length);
    });

    test('a pause at the follower stops the next slot, and a resume goes on', async () => {
      const [first, second, third] = agents;
      assert.ok(first && second && third);
      const release = first.hold('upgrade');
      first.executed.length = 0;
      const id = await leader.start({ to: '0r1' });
      await first.begun('upgrade');
      await follower.ask(RolloutsServiceService.pause, { id: '', reason: 'lunch' });
      assert.equal((await leader.status(id)).rollout?.phase, 'paused');
      release();
      const paused = await eventually(
        () => leader.status(id),
        ({ rollout }) => rollout?.counts.done === 1,
        'the node in flight does not finish',
      );
      assert.match(paused.rollout?.reason ?? '', /^paused by op: lunch$/);
      assert.deepEqual(paused.rollout?.counts, { ready: 2, done: 1 });
      for (const { executed } of [second, third])
        assert.ok(!executed.some((command) => command.startsWith(`${id}.`) && command.includes('.upgrade.')));
      await follower.ask(RolloutsServiceService.resume, { id, reason: '' });
      assert.equal((await follower.follow(id)).phase, 'succeeded');
      assertExecutedOnce(agents, id);
    });

    test('two wishes at the same moment are both answered, one after the other', async () => {
      const { leader: before } = await leader.status();
      const release = agents.map((agent) => agent.hold('preflight'));
      const outcomes = await Promise.allSettled(
        [leader, follower, leader, follower].map((calls) => calls.start({ to: '0b1', downgrade: true })),
      );
      const ids = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []));
      assert.equal(ids.length, 1);
      for (const outcome of outcomes)
        if (outcome.status === 'rejected')
          refused('ROLLOUT_ACTIVE', new RegExp(ids[0] ?? '?'))(outcome.reason);
      const wishes = [leader, follower, leader, follower].map((calls) =>
        calls.ask(RolloutsServiceService.pause, { id: '', reason: 'at once' }),
      );
      assert.ok((await Promise.allSettled(wishes)).some(({ status }) => status === 'fulfilled'));
      for (const open of release) open();
      await leader.ask(RolloutsServiceService.resume, { id: '', reason: '' });
      assert.equal((await leader.follow(ids[0] ?? '')).phase, 'succeeded');
      assert.equal((await leader.status()).leader?.term, before?.term, 'the leader has kept its lead');
    });

    test('what an agent may register, and what it may not', async () => {
      const agent = await cluster.calls(leading.address, 'agent', 'node-5');
      const request = { nodeId: 'node-5', address: '127.0.0.1:5', installId: 'one', counter: 1n };
      const register = (change: Partial<typeof request>) =>
        agent.ask(NodesServiceService.register, { ...request, ...change }).then(({ result }) => result);
      await assert.rejects(
        register({ nodeId: 'node-1' }),
        refused('FORBIDDEN', /names node-5, so it cannot register node-1/),
      );
      await assert.rejects(register({ address: 'nowhere' }), refused('USAGE'));
      assert.equal(await register({}), 'created');
      assert.equal(await register({}), 'unchanged');
      assert.equal(await register({ address: '127.0.0.1:6', counter: 2n }), 'updated');
      assert.equal(await register({ counter: 1n }), 'unchanged', 'a late registration undoes nothing');
      await assert.rejects(register({ installId: 'two', counter: 9n }), refused('NODE_EXISTS'));
      const labels = { zone: 'east' };
      await leader.ask(NodesServiceService.add, { nodeId: 'node-5', address: '', labels });
      await follower.ask(NodesServiceService.remove, { nodeId: 'node-5', reason: 'gone' });
      await assert.rejects(register({ counter: 10n }), refused('NODE_REMOVED', /node add node-5/));
      const { nodes } = await leader.ask(NodesServiceService.list, {});
      assert.ok(!nodes.some((node) => node.id === 'node-5'));
      await leader.ask(NodesServiceService.add, { nodeId: 'node-5', address: '', labels });
      assert.equal(await register({ installId: 'two', counter: 1n }), 'updated');
      await follower.ask(NodesServiceService.remove, { nodeId: 'node-5', reason: 'the test is over' });
      const operator = leader.ask(NodesServiceService.register, request);
      await assert.rejects(operator, refused('FORBIDDEN', /it needs the role agent/));
    });

    test('a stopped leader gives the lead up at once, and the follower leads', async () => {
      await leading.stop();
      const { entry } = await readKey(etcd.client(), cluster.keys.leader);
      assert.ok(!entry?.value.includes('controller-0'), 'the key went with it');
      const status = await eventually(
        () => follower.status(),
        ({ leader }) => leader?.id === 'controller-1',
        'the follower does not lead',
      );
      assert.ok((status.leader?.term ?? 0n) > 0n);
    });
  });

  describe('a leader that is killed in the middle of a rollout', { concurrency: false }, () => {
    let cluster: TestCluster;
    let doomed: ReplicaProcess;
    let local: LocalReplica;
    let survivor: Calls;

    before(async () => {
      cluster = await TestCluster.create('killed', etcd);
      doomed = await cluster.replicaProcess('controller-0');
    });
    after(() => cluster.stop());

    test('the rollout ends succeeded, and no command was executed twice', async () => {
      const agents = await Promise.all(['node-1', 'node-2', 'node-3'].map((node) => cluster.agent(node)));
      const [first, second, third] = agents;
      assert.ok(first && second && third);
      await eventually(
        () => readKey(etcd.client(), cluster.keys.leader),
        ({ entry }) => entry !== undefined || doomed.process.exitCode !== null,
        `it does not lead: ${doomed.log()}`,
      );
      local = await cluster.replica('controller-1');
      survivor = await cluster.calls(local.address);
      await addNodes(survivor, agents);
      const release = second.hold('upgrade');
      const id = await survivor.start({ to: '0b1' });
      const { leader } = await survivor.status(id);
      assert.equal(leader?.id, 'controller-0');
      const end = survivor.follow(id);
      await second.begun('upgrade');
      await doomed.kill('SIGKILL');
      const changed = await eventually(
        () => survivor.status(id),
        ({ leader }) => leader?.id === 'controller-1',
        'nobody takes over',
      );
      assert.ok((changed.leader?.term ?? 0n) > (leader?.term ?? 0n));
      await eventually(
        async () => second.adoptions,
        (terms) => terms.at(-1) === changed.leader?.term,
        'the new leader did not adopt the node in flight',
      );
      release();
      const { phase, counts } = await end;
      assert.deepEqual([phase, counts], ['succeeded', { done: 3 }]);
      assertExecutedOnce(agents, id);
      assert.deepEqual(
        agents.map(({ release }) => release.version),
        ['0b1', '0b1', '0b1'],
      );
      assert.deepEqual((await readPrefix(etcd.client(), cluster.keys.slots)).entries, []);
    });

    test('a program that is told to stop gives the lead up before it ends', async () => {
      const next = await cluster.replicaProcess('controller-2');
      await cluster.calls(next.address);
      await local.stop();
      const led = await eventually(
        () => readKey(etcd.client(), cluster.keys.leader),
        ({ entry }) => entry?.value.includes('controller-2') ?? false,
        `it does not lead: ${next.log()}`,
      );
      assert.ok(led.entry);
      await next.kill('SIGTERM');
      assert.equal(next.process.exitCode, 0, next.log());
      assert.equal((await readKey(etcd.client(), cluster.keys.leader)).entry, undefined);
    });
  });

  describe('a replica that has no etcd yet', { concurrency: false }, () => {
    let cluster: TestCluster;
    before(async () => {
      cluster = await TestCluster.create('waiting', etcd);
    });
    after(() => cluster.stop());

    test('can be stopped all the same', { timeout: 10_000 }, async () => {
      const nowhere = etcd.connection(await RealEtcd.unusedPort());
      const replica = await cluster.replica('controller-0', { etcd: nowhere });
      await replica.stop();
    });
  });

  describe('no leader', { concurrency: false }, () => {
    let cluster: TestCluster;
    before(async () => {
      cluster = await TestCluster.create('leaderless', etcd);
    });
    after(() => cluster.stop());

    test('looking still works; a wish waits, says so, and is taken up by the next leader', async () => {
      const client = etcd.client();
      const ghost = { id: 'controller-9', address: '127.0.0.1:9', epoch: 1, since: new Date().toISOString() };
      await transact(client, [], [{ kind: 'put', key: cluster.keys.leader, value: JSON.stringify(ghost) }]);
      const calls = await cluster.calls((await cluster.replica('controller-0')).address);
      assert.equal((await calls.status()).leader?.id, 'controller-9');
      const agent = await cluster.agent('node-1');
      const node = { nodeId: agent.node, address: agent.address, labels: {} };
      await calls.ask(NodesServiceService.add, node);
      const seen = {
        ...releaseOf('0a1'),
        ...{ phase: 'idle', health: 'healthy', unknown: false, os: 'linux', arch: 'x64' },
        since: new Date().toISOString(),
      };
      const status = JSON.stringify(seen);
      await transact(client, [], [{ kind: 'put', key: cluster.keys.nodeStatus('node-1'), value: status }]);
      const wish = calls.start({ to: '0b1', force: true });
      await assert.rejects(wish, refused('NO_LEADER', /recorded/));
      assert.equal((await calls.status()).rollout, undefined);
      assert.equal((await readPrefix(client, cluster.keys.intents)).entries.length, 1);
      await transact(client, [], [{ kind: 'delete', key: cluster.keys.leader }]);
      await eventually(
        () => readPrefix(client, cluster.keys.intents),
        ({ entries }) => entries.length === 0,
        'the wish is not taken up',
      );
      const { rollout } = await eventually(
        () => calls.status(),
        (status) => status.rollout !== undefined,
        'the wish is not in force',
      );
      const end = await calls.follow(rollout?.id ?? '');
      assert.deepEqual([end.phase, agent.release.version], ['succeeded', '0b1']);
    });
  });
});
