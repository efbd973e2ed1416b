/**
 * What operators say besides starting and stopping, through the real API on a real etcd: freeze, hold,
 * orders to a node, retry and skip, logs; and controllers that do not load the same policy.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { readKey } from '../../controller/leadership/etcd.js';
import { ClusterServiceService } from '../../gen/plexi/v1/cluster.js';
import { NodesServiceService, TakeOverRequest } from '../../gen/plexi/v1/nodes.js';
import { RolloutsServiceService } from '../../gen/plexi/v1/rollouts.js';
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
  cluster = await TestCluster.create('operators', etcd);
  calls = await cluster.calls((await cluster.replica('controller-0')).address);
  agents = await Promise.all(['node-1', 'node-2', 'node-3'].map((node) => cluster.agent(node)));
  await addNodes(calls, agents);
});
after(async () => {
  await cluster.stop();
  await etcd.remove();
});

const nodeNamed = async (id: string) =>
  (await calls.ask(NodesServiceService.list, {})).nodes.find((node) => node.id === id);

function takeOver(request: Partial<TakeOverRequest>) {
  return calls.ask(NodesServiceService.takeOver, TakeOverRequest.fromPartial(request));
}

describe('freeze', () => {
  test('no rollout starts while it is on, everybody is told why, and off lets it start', async () => {
    const freeze = (on: boolean, reason: string) =>
      calls.ask(ClusterServiceService.setFreeze, { on, reason });
    await assert.rejects(freeze(true, ''), refused('USAGE', /--reason/));
    await freeze(true, 'end of the year');
    await assert.rejects(
      calls.start({ to: '0b1' }),
      refused('PLAN_REFUSED', /frozen by op since .*: end of the year; .*plexictl freeze off/),
    );
    assert.match((await calls.plan({ to: '0b1' })).problems.join(), /frozen by op/);
    const status = await calls.status();
    assert.deepEqual([status.freeze?.by, status.freeze?.reason], ['op', 'end of the year']);
    await freeze(false, '');
    assert.deepEqual((await calls.plan({ to: '0b1' })).problems, []);
    assert.equal((await calls.ask(ClusterServiceService.get, {})).freeze, undefined);
  });
});

describe('hold', () => {
  test('a held node is left out of the next rollout and stays as it is; released it is told to all', async () => {
    const hold = (on: boolean) =>
      calls.ask(NodesServiceService.setHold, { nodeId: 'node-2', on, reason: 'a new disk' });
    await assert.rejects(hold(false), refused('CONFLICT', /node-2 is not held/));
    await hold(true);
    assert.equal((await nodeNamed('node-2'))?.held, 'a new disk');
    const plan = await calls.plan({ to: '0b1' });
    assert.deepEqual(
      plan.nodes.map(({ id }) => id),
      ['node-1', 'node-3'],
    );
    assert.match(plan.warnings.join(), /node-2 is held \(a new disk\) and is left out/);
    await hold(false);
    assert.equal((await nodeNamed('node-2'))?.held, '');
    const key = cluster.keys.nodeHold('node-2');
    assert.equal((await readKey(etcd.client(), key)).entry, undefined);
  });
});

describe('an order to a node', () => {
  test('is carried out by its agent, and what it came to is told', async () => {
    const { digest } = await takeOver({ nodeId: 'node-1', version: '0a1', directory: '/srv/old' });
    assert.equal(digest, 'd'.repeat(64));
    assert.ok(agents[0]?.executed.some((id) => id.startsWith('adopt.node-1.')));
    await eventually(
      () => nodeNamed('node-1'),
      (node) => node?.digest === digest && node.order === '',
      'the node is not shown as what it runs',
    );
  });

  test('that fails says why, with the words of the node', async () => {
    agents[2]?.fail('takeOver', 'TAKE_OVER_FAILED', 'nothing runs in /srv/none');
    const refusal = takeOver({ nodeId: 'node-3', version: '0a1', directory: '/srv/none' });
    await assert.rejects(refusal, refused('TAKE_OVER_FAILED', /nothing runs in \/srv\/none/));
  });

  test('keeps a rollout from being planned over the node until it has ended', async () => {
    const release = agents[1]?.hold('takeOver');
    const order = takeOver({ nodeId: 'node-2', version: '0a1', confirm: true, reason: 'swapped a file' });
    await agents[1]?.begun('takeOver');
    assert.match((await calls.plan({ to: '0b1' })).problems.join(), /node-2 has an order under way/);
    await assert.rejects(takeOver({ nodeId: 'node-2', version: '0a1' }), refused('NODE_BUSY'));
    release?.();
    await order;
    assert.deepEqual((await calls.plan({ to: '0b1' })).problems, []);
  });

  test('ends with its node when that is taken off the list, and does not say that it goes on', async () => {
    const agent = await cluster.agent('node-4');
    await addNodes(calls, [agent]);
    const release = agent.hold('takeOver');
    const order = takeOver({ nodeId: 'node-4', version: '0a1', confirm: true, reason: 'swapped a file' });
    const refusal = assert.rejects(order, refused('NODE_REMOVED', /node-4 was taken off the list before/));
    await agent.begun('takeOver');
    await calls.ask(NodesServiceService.remove, { nodeId: 'node-4', reason: 'gone' });
    await refusal;
    release();
  });

  test('is refused when it makes no sense', async () => {
    await assert.rejects(takeOver({ nodeId: 'node-9', version: '0a1' }), refused('NOT_FOUND', /node-9/));
    await assert.rejects(takeOver({ nodeId: 'node-1', version: '0x1' }), refused('VERSION_INVALID'));
    const relative = takeOver({ nodeId: 'node-1', version: '0a1', directory: 'srv' });
    await assert.rejects(relative, refused('USAGE', /no absolute path/));
    const silent = takeOver({ nodeId: 'node-1', version: '0a1', confirm: true });
    await assert.rejects(silent, refused('USAGE', /--reason/));
  });
});

describe('logs', () => {
  test('come from the node, whichever replica is asked, and a follower that leaves is noticed', async () => {
    assert.equal(await calls.logs({ nodeId: 'node-1', source: 'hook', name: 'enter' }), 'hook enter\n');
    const followed = await calls.logs(
      { nodeId: 'node-1', source: 'agent', follow: true },
      (text) => text.length > 0,
    );
    assert.equal(followed, 'agent \n');
    await eventually(
      async () => agents[0]?.logsEnded,
      (ended) => ended === 1,
      'the agent was not told',
    );
    await assert.rejects(calls.logs({ nodeId: 'node-9', source: 'agent' }), refused('NOT_FOUND'));
    const viewer = await cluster.calls((await calls.status()).leader?.address ?? '', 'viewer', 'eye');
    await assert.rejects(viewer.logs({ nodeId: 'node-1', source: 'agent' }), refused('FORBIDDEN'));
  });
});

describe('a rollout under way', () => {
  test('refuses retry and skip that make no sense, and goes on without a node that is skipped', async () => {
    const skip = (nodeId: string) => calls.ask(RolloutsServiceService.skip, { id: '', nodeId, reason: '' });
    const retry = (nodeId: string) => calls.ask(RolloutsServiceService.retry, { id: '', nodeId, reason: '' });
    await assert.rejects(skip('node-1'), refused('NO_ROLLOUT_ACTIVE'));
    const release = agents[0]?.hold('upgrade');
    const id = await calls.start({ to: '0b1' });
    const end = calls.follow(id);
    await agents[0]?.begun('upgrade');
    await assert.rejects(skip('node-1'), refused('CONFLICT', /is out of service/));
    await assert.rejects(skip('node-9'), refused('CONFLICT', /has no part in/));
    await assert.rejects(retry('node-2'), refused('CONFLICT', /node-2 is ready/));
    await skip('node-2');
    release?.();
    const { phase, reason, exitCode } = await end;
    assert.deepEqual([phase, exitCode], ['succeeded', 0]);
    assert.match(reason, /2 of 3 nodes run 0b1; skipped by an operator: node-2/);
  });

  test('stage-only touches nothing, restart takes every node once more', async () => {
    const staged = await calls.follow(await calls.start({ to: '0r1', stageOnly: true }));
    assert.deepEqual([staged.phase, staged.exitCode], ['succeeded', 0]);
    assert.match(staged.reason, /staged on 3 nodes, and none was touched/);
    assert.deepEqual(staged.counts, { ready: 3 });
    const restarted = await calls.follow(await calls.start({ to: '0b1', restart: true, nodes: ['node-1'] }));
    assert.deepEqual([restarted.phase, restarted.counts], ['succeeded', { done: 1 }]);
    assert.equal(await calls.start({ to: '0b1', nodes: ['node-1'] }), '', 'without it nothing is to be done');
  });
});

describe('the policy of the controllers', () => {
  test('one whose policy differs is named, and a start is refused until it is gone', async () => {
    const changed = { rollout: { soak_ms: 4_321 } };
    const other = await cluster.replica('controller-1', changed);
    const plan = await eventually(
      () => calls.plan({ to: '0r1' }),
      ({ problems }) => problems.length > 0,
      'the difference is not seen',
    );
    assert.match(plan.problems.join(), /do not load the same policy \(controller-0: .*; controller-1: /);
    await assert.rejects(calls.start({ to: '0r1' }), refused('PLAN_REFUSED', /controller-1/));
    const { controllers } = await calls.ask(ClusterServiceService.get, {});
    assert.deepEqual(
      controllers.map(({ id }) => id),
      ['controller-0', 'controller-1'],
    );
    await other.stop();
    await eventually(
      () => calls.plan({ to: '0r1' }),
      ({ problems }) => problems.length === 0,
      'a controller that stopped is still listed',
    );
  });
});
