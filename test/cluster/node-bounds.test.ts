/** A cluster holds so many nodes, and a node so many labels, whoever adds them and however often. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { limits } from '../../config/limits.js';
import { type EtcdOperation, readPrefix, transact } from '../../controller/leadership/etcd.js';
import { NodesServiceService } from '../../gen/plexi/v1/nodes.js';
import { eventually, refused } from './asking.test.part.js';
import { type Calls, TestCluster } from './cluster.test.part.js';
import { RealEtcd } from './real-etcd.test.part.js';

let etcd: RealEtcd;
let cluster: TestCluster;
let calls: Calls;
let address: string;
before(async () => {
  etcd = await RealEtcd.start();
  cluster = await TestCluster.create('bounds', etcd);
  ({ address } = await cluster.replica('controller-0'));
  calls = await cluster.calls(address);
});
after(async () => {
  await cluster.stop();
  await etcd.remove();
});

function labels(from: number, count: number): Record<string, string> {
  return Object.fromEntries(Array.from({ length: count }, (_, index) => [`label-${from + index}`, 'x']));
}

/** Specs of nodes that no agent stands behind, so many at a time. */
async function enlist(count: number, removed: boolean): Promise<void> {
  const value = JSON.stringify({ address: '', labels: {}, removed });
  const name = removed ? 'gone' : 'many';
  const puts = Array.from(
    { length: count },
    (_, index): EtcdOperation => ({ kind: 'put', key: cluster.keys.nodeSpec(`${name}-${index}`), value }),
  );
  for (let from = 0; from < puts.length; from += 100)
    await transact(etcd.client(), [], puts.slice(from, from + 100));
}

test('labels are counted with those that the node has already', async () => {
  const add = (given: Record<string, string>) =>
    calls.ask(NodesServiceService.add, { nodeId: 'node-1', address: '', labels: given });
  await add(labels(0, limits.labels));
  await add(labels(0, 1));
  await assert.rejects(add(labels(100, 1)), refused('LIMIT_EXCEEDED', /node-1 would have 33 labels/));
});

test('the oldest of very many removed nodes is forgotten with all that stood under it; the others stay refused', async () => {
  await enlist(limits.removedNodesKept, true);
  const word = `${cluster.keys.nodeWords('gone-0')}1`;
  await transact(etcd.client(), [], [{ kind: 'put', key: word, value: '{}' }]);
  const gone = async () => (await readPrefix(etcd.client(), `${cluster.keys.nodes}gone-`)).entries.length;
  assert.equal(await gone(), limits.removedNodesKept + 1);
  await calls.ask(NodesServiceService.remove, { nodeId: 'node-1', reason: 'gone' });
  assert.equal(await gone(), limits.removedNodesKept - 1);
  const { entries } = await readPrefix(etcd.client(), `${cluster.keys.nodes}gone-0/`);
  assert.deepEqual(entries, []);
});

test('one node more than a cluster holds is refused, whether it is added or registers', async () => {
  await enlist(limits.nodes, false);
  const add = () => calls.ask(NodesServiceService.add, { nodeId: 'node-2', address: '', labels: {} });
  await eventually(
    () =>
      add().then(
        () => 'added',
        (thrown) => String(thrown.code),
      ),
    (end) => end === 'LIMIT_EXCEEDED',
    'it was added',
  );
  const agent = await cluster.calls(address, 'agent', 'node-3');
  const request = {
    nodeId: 'node-3',
    address: '10.0.0.3:7400',
    installId: 'i',
    counter: 1n,
    agentVersion: '',
  };
  await assert.rejects(
    agent.ask(NodesServiceService.register, request),
    refused('LIMIT_EXCEEDED', /the cluster has 5000 nodes or more/),
  );
});
