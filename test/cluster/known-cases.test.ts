/**
 * Cases from other people's bugs that show between controllers and agents: a way back to what ran before, a node
 * that is taken off the list while it holds a slot, and a report that is lost behind the commit. Through the real
 * API on a real etcd, with agents that play a script.
 */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { readPrefix } from '../../controller/leadership/etcd.js';
import { readSlot } from '../../controller/state/codec.js';
import { NodesServiceService } from '../../gen/plexi/v1/nodes.js';
import { RolloutsServiceService } from '../../gen/plexi/v1/rollouts.js';
import { addNodes, eventually, refused } from './asking.test.part.js';
import { releaseOf, TestCluster } from './cluster.test.part.js';
import { RealEtcd } from './real-etcd.test.part.js';
import type { ScriptedAgent } from './scripted-agent.test.part.js';

let etcd: RealEtcd;
before(async () => {
  etcd = await RealEtcd.start();
});
after(() => etcd.remove());

class Cluster {
  private constructor(
    readonly cluster: TestCluster,
    readonly calls: Awaited<ReturnType<TestCluster['calls']>>,
    readonly agents: readonly ScriptedAgent[],
  ) {}

  /** Three nodes, and one controller that leads. */
  static async start(name: string, clustering: object = {}, rollout: object = {}): Promise<Cluster> {
    const cluster = await TestCluster.create(name, etcd);
    const policy = { update_system: { clustering } };
    await writeFile(join(etcd.folder, name, 'policy.yml'), JSON.stringify(policy));
    const timeouts = { apply_ms: 5_000, probe_ms: 5_000 };
    const changes = { update_file: 'policy.yml', rollout: { soak_ms: 100, timeouts, ...rollout } };
    const calls = await cluster.calls((await cluster.replica('controller-0', changes)).address);
    const agents = await Promise.all(['node-1', 'node-2', 'node-3'].map((node) => cluster.agent(node)));
    await addNodes(calls, agents);
    return new Cluster(cluster, calls, agents);
  }

  agent(index: number): ScriptedAgent {
    return this.agents[index - 1] ?? assert.fail(`there is no node-${index}`);
  }

  /** A rollout of some nodes, or of all, from its start to its end. */
  async rollOut(to: string, nodes: readonly string[] = []): Promise<string> {
    const id = await this.calls.start({ to, nodes: [...nodes], downgrade: to === '0a1' });
    const { phase, reason } = await this.calls.follow(id);
    assert.equal(phase, 'succeeded', reason);
    return id;
  }

  rollBack(id: string): Promise<string> {
    const request = { id, reason: 'it was wrong', requestId: randomUUID() };
    return this.calls.ask(RolloutsServiceService.rollback, request).then((response) => response.id);
  }

  remove(nodeId: string): Promise<unknown> {
    return this.calls.ask(NodesServiceService.remove, { nodeId, reason: 'scrapped' });
  }

  /** The slots that are taken, by their names, with their nodes. */
  async slots(): Promise<Record<string, string>> {
    const { entries } = await readPrefix(etcd.client(), this.cluster.keys.slots);
    const nameOf = (key: string): string => key.slice(this.cluster.keys.slots.length);
    return Object.fromEntries(entries.map(({ key, value }) => [nameOf(key), readSlot(key, value).node]));
  }

  /** Resolves once the controllers tell that the node cannot be reached. */
  async unreachable(id: string): Promise<void> {
    await eventually(
      () => this.calls.ask(NodesServiceService.list, {}),
      ({ nodes }) => nodes.some((node) => node.id === id && node.unknown),
      `${id} counts as reachable`,
    );
  }
}

function upgradesOf({ executed, node }: ScriptedAgent, id: string): string[] {
  return executed.filter((command) => command.startsWith(`${id}.${node}.upgrade`));
}

describe('a rollback goes back to what really ran before (flagger #1931)', { concurrency: false }, () => {
  let all: Cluster;
  let first: string;
  before(async () => {
    all = await Cluster.start('way-back');
    first = await all.rollOut('0b1');
  });
  after(() => all.cluster.stop());

  test('not while a later change stands, which is named; taken back in their order, both go', async () => {
    const second = await all.rollOut('0r1', ['node-2']);
    const contacts = all.agents.map((agent) => agent.contacts.length);
    const sentence = `^node-2 runs 0r1 now, not what ${first} brought; take the later change back first$`;
    await assert.rejects(all.rollBack(first), refused('PLAN_REFUSED', new RegExp(sentence)));
    assert.deepEqual(
      all.agents.map((agent) => agent.contacts.length),
      contacts,
      'no node was asked',
    );
    const back = await all.calls.follow(await all.rollBack(second));
    assert.deepEqual([back.phase, back.to], ['succeeded', '0b1']);
    assert.deepEqual(all.agent(2).release, releaseOf('0b1'), 'not to the release of before that');
    assert.equal((await all.calls.follow(await all.rollBack(first))).phase, 'succeeded');
    for (const { release } of all.agents) assert.deepEqual(release, releaseOf('0a1'));
  });

  test('nor a node that somebody changed by hand; one that is off the list keeps nobody', async () => {
    const id = await all.rollOut('0b1');
    const [one, , three] = all.agents;
    assert.ok(one && three);
    one.release = { version: '0b1', digest: 'e'.repeat(64) };
    one.tell();
    await eventually(
      () => all.calls.ask(NodesServiceService.list, {}),
      ({ nodes }) => nodes.some(({ digest }) => digest === one.release.digest),
      'what was changed by hand is not seen',
    );
    await all.remove('node-3');
    const expected = /^node-1 runs 0b1 now, not what [^;]*; take the later change back first$/;
    await assert.rejects(all.rollBack(id), refused('PLAN_REFUSED', expected));
    assert.deepEqual(all.agent(2).release, releaseOf('0b1'), 'nor is the one node that could go');
  });
});

describe('a node is taken off while it holds a slot (kured #137)', { concurrency: false }, () => {
  let all: Cluster;
  before(async () => {
    all = await Cluster.start('slot-holder', { coordination_timeout: 1 }, { failure_budget: 1 });
  });
  after(() => all.cluster.stop());

  test('one in maintenance keeps it though it is dead, until the operator takes it off; then the rollout goes on', async () => {
    const on = { nodeId: 'node-3', on: true, reason: 'new disks' };
    await all.calls.ask(NodesServiceService.setMaintenance, on);
    await all.agent(3).goAway();
    await all.unreachable('node-3');
    const id = await all.calls.start({ to: '0b1', exclude: ['node-3'] });
    const { rollout } = await eventually(
      () => all.calls.status(id),
      ({ rollout }) =>
        rollout?.counts.ready === 2 && rollout.nodes.some(({ waitingOn }) => waitingOn.length > 0),
      'nobody waits for the slot',
    );
    const waits = rollout?.nodes.flatMap(({ waitingOn }) => waitingOn.map(({ reason }) => reason));
    assert.match(waits?.join() ?? '', /node-3/);
    assert.deepEqual(await all.slots(), { 0: 'node-3' }, 'nobody but the operator frees it');
    await all.remove('node-3');
    const { phase, counts } = await all.calls.follow(id);
    assert.deepEqual([phase, counts], ['succeeded', { done: 2 }]);
    assert.deepEqual(await all.slots(), {});
  });

  test('one that a rollout works on is not taken off; once it is lost it may be, and the rollout goes on', async () => {
    const [one, two] = all.agents;
    assert.ok(one && two);
    const releaseOne = one.hold('upgrade', 'stopping');
    const releaseTwo = two.hold('upgrade');
    for (const agent of all.agents) agent.executed.length = 0;
    const id = await all.calls.start({ to: '0r1' });
    await one.begun('upgrade');
    await assert.rejects(
      all.remove('node-1'),
      refused('CONFLICT', /node-1 is part of the active rollout.*abort the rollout first/),
    );
    assert.deepEqual(await all.slots(), { 0: 'node-1' });
    await one.goAway();
    await two.begun('upgrade');
    assert.deepEqual(await all.slots(), { 0: 'node-2', 'stuck-node-1': 'node-1' });
    await all.remove('node-1');
    assert.deepEqual(await all.slots(), { 0: 'node-2' });
    releaseTwo();
    const end = await all.calls.follow(id);
    assert.deepEqual([end.phase, end.exitCode, end.counts], ['succeeded', 0, { done: 1, skipped: 1 }]);
    assert.deepEqual(await all.slots(), {});
    releaseOne();
  });
});

describe('a report that is lost behind the commit (mender 823)', { concurrency: false }, () => {
  let all: Cluster;
  before(async () => {
    all = await Cluster.start('lost-report');
  });
  after(() => all.cluster.stop());

  test('is asked for again: the node is done, nothing is done twice, and nobody goes back', async () => {
    const one = all.agent(1);
    const release = one.hold('upgrade', 'leaving_maintenance');
    const id = await all.calls.start({ to: '0b1' });
    await eventually(
      () => all.calls.status(id),
      ({ rollout }) => rollout?.nodes.find((node) => node.id === 'node-1')?.phase === 'leaving_maintenance',
      'node-1 does not come to its commit',
    );
    await one.goAway();
    release();
    await eventually(
      async () => one.release.version,
      (version) => version === '0b1',
      'the upgrade does not end',
    );
    const { rollout } = await all.calls.status(id);
    assert.equal(rollout?.nodes[0]?.phase, 'leaving_maintenance', 'nobody has heard of its end');
    assert.deepEqual(await all.slots(), { 0: 'node-1' });
    await one.comeBack();
    const { phase, counts } = await all.calls.follow(id);
    assert.deepEqual([phase, counts], ['succeeded', { done: 3 }]);
    for (const agent of all.agents)
      assert.deepEqual(upgradesOf(agent, id), [`${id}.${agent.node}.upgrade.1`]);
    assert.ok(
      one.contacts.length > all.agent(2).contacts.length,
      'it was asked once more, and had the result recorded',
    );
  });
});
