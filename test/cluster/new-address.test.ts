/**
 * A node that a leader finds at another address, or that was let in again, is asked anew what it knows: it may
 * be one that knows more than etcd does (protocol, rule 21).
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { transact } from '../../controller/leadership/etcd.js';
import { agents, cluster, direct, endings, lead, mirror, nodeOperations } from './term.test.part.js';

test('the agent at a new address is compared with etcd before it is believed', async () => {
  const [old] = await agents(1);
  await lead();
  const status = cluster.keys.nodeStatus('node-1');
  await mirror.waitFor(() => mirror.get(status)?.value.includes('"inMaintenance":false') ?? false, 10_000);
  const other = await cluster.agent('node-1');
  other.lies = { fence: (fence) => ({ ...fence, epoch: 1n, term: 1_000_000n }) };
  const [spec] = nodeOperations('node-1', other.address);
  assert.ok(old && spec);
  endings.push(async () => old.stop());
  assert.notEqual(other.address, old.address);
  await transact(direct, [], [spec]);
  const { restored } = cluster.keys;
  assert.ok(await mirror.waitFor(() => mirror.get(restored) !== undefined, 10_000), 'nobody noticed');
  assert.match(mirror.get(restored)?.value ?? '', /node-1 knows term 1000000/);
});
