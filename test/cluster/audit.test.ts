/**
 * The audit record of a real cluster: two replicas on a real etcd, a rollout, a change of leader, wishes
 * that are refused; then somebody who may write to etcd changes it.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { limits } from '../../config/limits.js';
import { pruneAudit } from '../../controller/execution/prune.js';
import { readKey, readPrefix, transact } from '../../controller/leadership/etcd.js';
import { FencedStore } from '../../controller/leadership/fenced-store.js';
import { headOf } from '../../controller/state/audit.js';
import { AuditServiceService } from '../../gen/plexi/v1/audit.js';
import { NodesServiceService } from '../../gen/plexi/v1/nodes.js';
import { RolloutsServiceService } from '../../gen/plexi/v1/rollouts.js';
import { addNodes, eventually } from './asking.test.part.js';
import { type Calls, type LocalReplica, TestCluster } from './cluster.test.part.js';
import { RealEtcd } from './real-etcd.test.part.js';

let etcd: RealEtcd;
let cluster: TestCluster;
let leader: LocalReplica;
let calls: Calls;
before(async () => {
  etcd = await RealEtcd.start();
  cluster = await TestCluster.create('audit', etcd);
  leader = await cluster.replica('controller-0');
  calls = await cluster.calls(leader.address);
  const agents = await Promise.all(['node-1', 'node-2'].map((node) => cluster.agent(node)));
  await addNodes(calls, agents);
});
after(async () => {
  await cluster.stop();
  await etcd.remove();
});

interface Stored {
  readonly what: string;
  readonly who?: string;
  readonly commandId?: string;
  readonly outcome?: string;
  readonly wish?: string;
  readonly error?: { readonly code: string } | null;
}

async function records(by: Calls = calls): Promise<Stored[]> {
  const listed = await by.ask(AuditServiceService.list, { limit: 1_000, verify: true });
  assert.equal(listed.verification?.problem, '');
  return listed.records.map(({ json }) => JSON.parse(json) as Stored).reverse();
}

const ofKind = (all: readonly Stored[], what: string): Stored[] => all.filter((one) => one.what === what);

describe('the audit record', () => {
  test('holds every command and its outcome once, the wish before them and the end after them', async () => {
    const id = await calls.start({ to: '0b1' });
    await calls.follow(id);
    const all = await records();
    const commands = ofKind(all, 'command').map(({ commandId }) => commandId);
    const steps = ['preflight', 'stage', 'upgrade'];
    const wanted = ['node-1', 'node-2'].flatMap((node) => steps.map((step) => `${id}.${node}.${step}.1`));
    assert.deepEqual([...commands].sort(), [...wanted].sort());
    const outcomes = ofKind(all, 'outcome');
    assert.deepEqual(outcomes.map(({ commandId }) => commandId).sort(), [...wanted].sort());
    assert.ok(outcomes.every(({ outcome }) => outcome === 'done'));
    assert.deepEqual(
      all.filter(({ what }) => what === 'wish' || what === 'end').map(({ what }) => what),
      ['wish', 'end'],
    );
    const [wish] = ofKind(all, 'wish');
    assert.deepEqual([wish?.who, wish?.wish, wish?.error], ['op', 'start', null]);
  });

  test('tells maintenance by hand, and a wish that was refused', async () => {
    const before = (await records()).length;
    const maintenance = (on: boolean) =>
      calls.ask(NodesServiceService.setMaintenance, { nodeId: 'node-1', on, reason: 'new disks' });
    await maintenance(true);
    await maintenance(false);
    await assert.rejects(
      calls.ask(RolloutsServiceService.rollback, { id: 'nothing-like-it', reason: '', requestId: 'r1' }),
    );
    const more = (await records()).slice(before).filter(({ what }) => what !== 'leader');
    const told = more.map(({ what, wish, outcome, error }) => [
      what,
      wish ?? outcome ?? '',
      error?.code ?? '',
    ]);
    assert.deepEqual(told, [
      ['wish', 'maintenance', ''],
      ['command', '', ''],
      ['outcome', 'done', ''],
      ['wish', 'maintenance', ''],
      ['command', '', ''],
      ['outcome', 'done', ''],
      ['wish', 'rollback', 'NOT_FOUND'],
    ]);
  });

  test('goes on under the next leader, who stands in it, and either replica shows it', async () => {
    const other = await cluster.replica('controller-1');
    const others = await cluster.calls(other.address);
    const before = await records(others);
    await leader.stop();
    const all = await eventually(
      () => records(others),
      (now) => now.length > before.length,
      'the next leader is not recorded',
    );
    assert.deepEqual(all.slice(0, before.length), before);
    const leaders = ofKind(all, 'leader').map(({ who }) => who);
    assert.deepEqual([leaders[0], leaders.at(-1)], ['controller-0', 'controller-1']);
    calls = others;
  });

  test('is kept within its bound, and what is left is still a chain', async () => {
    const client = etcd.client();
    const { entries } = await readPrefix(client, cluster.keys.audit);
    const { entry } = await readKey(client, cluster.keys.leader);
    const store = new FencedStore(client, cluster.keys.leader, entry?.createRevision ?? 0n);
    const last = headOf(entries.at(-1)).sequence;
    const oldest = async (limit: number) => entries.slice(0, limit);
    assert.equal(await pruneAudit(store, oldest, last), 0);
    assert.equal(await pruneAudit(store, oldest, limits.auditRecordsKept + 3), 3);
    assert.equal((await records()).length, entries.length - 3);
    const { verification } = await calls.ask(AuditServiceService.list, { limit: 1, verify: true });
    assert.deepEqual([verification?.first, verification?.last], [4n, BigInt(last)]);
    client.close();
  });

  test('shows what somebody changed in etcd', async () => {
    const client = etcd.client();
    const key = cluster.keys.auditRecord(6);
    const { entry } = await readKey(client, key);
    assert.ok(entry);
    const value = entry.value.replace('node-', 'nodo-');
    assert.notEqual(value, entry.value);
    await transact(client, [], [{ kind: 'put', key, value }]);
    const { verification } = await calls.ask(AuditServiceService.list, { limit: 1, verify: true });
    assert.match(verification?.problem ?? '', /audit\/000000000006 cannot be trusted: it was changed/);
    assert.equal(verification?.last, 5n);
    client.close();
  });
});
