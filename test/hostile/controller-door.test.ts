/**
 * A controller's port: attacked from below the protocol, and with any message that an operator's, an
 * agent's or a viewer's certificate could send. Behind it are a real etcd, a leader and a node; every call
 * ends with an answer or a status, and the leader goes on leading.
 */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import fc from 'fast-check';
import { createAuthority, issueCertificate } from '../../config/certificate-authority.js';
import { limits } from '../../config/limits.js';
import { splitHostPort } from '../../config/schema/fields.js';
import { readPrefix } from '../../controller/leadership/etcd.js';
import { AuditServiceService } from '../../gen/plexi/v1/audit.js';
import { ClusterServiceService } from '../../gen/plexi/v1/cluster.js';
import { NodesServiceService } from '../../gen/plexi/v1/nodes.js';
import { RolloutsServiceService } from '../../gen/plexi/v1/rollouts.js';
import { addNodes, eventually, refused } from '../cluster/asking.test.part.js';
import { type Calls, TestCluster } from '../cluster/cluster.test.part.js';
import { RealEtcd } from '../cluster/real-etcd.test.part.js';
import { attackDoor, type Door } from './door.test.part.js';
import { Messages } from './messages.test.part.js';
import { type Method, methodsOf, RawCaller } from './raw-call.test.part.js';
import { hostile } from './target.test.part.js';

const services = [RolloutsServiceService, NodesServiceService, ClusterServiceService, AuditServiceService];
const methods = services.flatMap((service) => methodsOf(service));
const rollout = 'update_0a1_0b1_20241219_120000';
const messages = new Messages({
  id: [rollout, '', `${rollout}/nodes`, '../nodes/node-1'],
  to: ['0b1', '0a1', 'latest', 'stable'],
  node_id: ['node-1', 'node-2', 'node-1/spec', 'nobody'],
  nodes: ['node-1', 'node-2'],
  address: ['127.0.0.1:1', '10.0.0.1:7401', 'unix:/tmp/x', ''],
  selectors: ['zone=a'],
  canary_selector: ['zone=a'],
  version: ['0a1', '0b1', 'none'],
  directory: ['/srv/chat', '../..'],
  source: ['service', 'update'],
  request_id: ['r1', 'r2'],
  reason: ['new disks', 'x'.repeat(1_001)],
});

let etcd: RealEtcd;
let cluster: TestCluster;
let calls: Calls;
let door: Door;
let foreign: string;
const callers: RawCaller[] = [];

before(async () => {
  etcd = await RealEtcd.start();
  cluster = await TestCluster.create('hostile', etcd);
  const { address } = await cluster.replica('controller-1');
  calls = await cluster.calls(address);
  await addNodes(calls, [await cluster.agent('node-1')]);
  for (const [role, name] of [
    ['operator', 'op'],
    ['agent', 'node-1'],
    ['viewer', 'eve'],
  ] as const)
    callers.push(
      new RawCaller(address, await cluster.certificate(role, name), {
        cluster: 'hostile',
        role: 'controller',
      }),
    );
  foreign = await mkdtemp(join(tmpdir(), 'plexi-hostile-'));
  await createAuthority(foreign, { cluster: 'hostile' });
  const out = { cert: join(foreign, 'op.pem'), key: join(foreign, 'op.key') };
  await issueCertificate(foreign, {
    identity: { cluster: 'hostile', role: 'operator', name: 'op' },
    hosts: ['127.0.0.1'],
    out,
  });
  door = {
    port: splitHostPort(address)?.port ?? 0,
    files: await cluster.certificate('operator', 'op'),
    foreign: { ca: join(foreign, 'ca.pem'), ...out },
    path: '/plexi.v1.ClusterService/Get',
    goodCall: async () => {
      const { cluster: name } = await (await cluster.calls(address)).ask(ClusterServiceService.get, {});
      assert.equal(name, 'hostile');
    },
  };
});
after(async () => {
  for (const caller of callers) caller.close();
  await cluster.stop();
  await etcd.remove();
  await rm(foreign, { recursive: true, force: true });
});

/** A leader leads, takes wishes, and all that stands in etcd can be read. */
async function stillLeads(): Promise<void> {
  await eventually(
    () => calls.ask(ClusterServiceService.get, {}),
    ({ leader }) => leader !== undefined,
    'nobody leads',
  );
  const on = { on: true, reason: 'to see that wishes are taken' };
  await calls.ask(ClusterServiceService.setFreeze, on);
  await calls.ask(ClusterServiceService.setFreeze, { ...on, on: false });
  await calls.ask(NodesServiceService.list, {});
  await calls.ask(RolloutsServiceService.list, { limit: 0 });
}

const bigText = 'x'.repeat(limits.etcdValueBytes);

describe('what would spoil the records in etcd is refused before it is written', () => {
  test('a wish for a rollout whose id is a piece of a path', async () => {
    for (const id of [
      `${rollout}/nodes`,
      `${rollout}/plan/nodes`,
      '../nodes/node-1',
      'a\0b',
      'x'.repeat(300),
    ])
      await assert.rejects(calls.ask(RolloutsServiceService.pause, { id, reason: '' }), refused('NOT_FOUND'));
    const { entries } = await readPrefix(etcd.client(), cluster.keys.rollouts);
    assert.deepEqual(
      entries.map(({ key }) => key),
      [],
    );
  });

  test('a wish and a node that are longer than a value may be', async () => {
    const tooLong = refused('LIMIT_EXCEEDED');
    const remove = { nodeId: 'node-1', reason: bigText };
    await assert.rejects(calls.ask(NodesServiceService.remove, remove), tooLong);
    const add = { nodeId: 'node-9', address: '', labels: { zone: bigText } };
    await assert.rejects(calls.ask(NodesServiceService.add, add), tooLong);
  });

  test('a sentence that repeats what was asked is no longer than a status may be', async () => {
    await assert.rejects(calls.status(bigText), (thrown: unknown) => {
      refused('NOT_FOUND')(thrown);
      return String(thrown).length < 2 * limits.statusChars;
    });
  });

  test('the log of a node that has no address yet', async () => {
    await calls.ask(NodesServiceService.add, { nodeId: 'node-8', address: '', labels: {} });
    await assert.rejects(calls.logs({ nodeId: 'node-8', source: 'service' }), refused('NODE_UNREACHABLE'));
  });
});

function pathed(path: string): Method {
  const method = methods.find((candidate) => candidate.path === path);
  assert.ok(method);
  return method;
}

const anyMethod = fc.constantFrom(...methods.map(({ path }) => path));
const who = fc.constantFrom(0, 0, 0, 0, 1, 2);

hostile(import.meta.url, {
  name: 'random bytes to every method of a controller end with a status',
  cases: fc.record({ who, path: anyMethod, sent: fc.uint8Array({ maxLength: 200 }) }),
  casesMin: 10,
  check: async ({ who: at, path, sent }) => (await callers[at]?.call(pathed(path), [sent])) ?? '',
  after: stillLeads,
});

hostile(import.meta.url, {
  name: 'any message to every method of a controller ends with an answer or a status',
  cases: anyMethod.chain((path) =>
    fc.record({ who, path: fc.constant(path), sent: messages.requestOf(path) }),
  ),
  casesMin: 5,
  check: async ({ who: at, path, sent }) => (await callers[at]?.call(pathed(path), [sent])) ?? '',
  after: stillLeads,
});

attackDoor(import.meta.url, 'a controller', () => door);
