/** How the writes of one decision become transactions: what belongs together is committed together. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { limits } from '../../config/limits.js';
import { ModelEtcd } from '../../test/scenarios/model-etcd.test.part.js';
import { keys } from '../../test/scenarios/model-leader.test.part.js';
import { emptyWorld } from '../rollout/empty-world.test.part.js';
import { changedGroups, transactionsOf } from './world-writes.js';

const put = (key: string) => ({ kind: 'put', key, value: '{}' }) as const;
const remove = (key: string) => ({ kind: 'delete', key }) as const;

test('a node that is taken off the list loses its slot in the transaction that says so', () => {
  const groups = [
    { operations: [put('nodes/node-1/status')], guards: [] },
    { operations: [put('rollouts/r/nodes/node-1'), remove('slots/0')], guards: [] },
  ];
  const extra = { operations: [put('nodes/node-1/spec'), remove('nodes/node-1/status')], guards: [] };
  const transactions = transactionsOf(groups, extra).map(({ operations }) =>
    operations.map(({ kind, key }) => `${kind} ${key}`),
  );
  assert.deepEqual(transactions, [
    ['put rollouts/r/nodes/node-1', 'delete slots/0', 'put nodes/node-1/spec', 'delete nodes/node-1/status'],
  ]);
});

test('what weighs more than etcd takes at once is cut, in its order', () => {
  const value = 'é'.repeat(30_000);
  const keys = Array.from({ length: 60 }, (_, index) => `rollouts/r/nodes/node-${index}`);
  const groups = keys.map((key) => ({ operations: [{ kind: 'put', key, value } as const], guards: [] }));
  const transactions = transactionsOf(groups, { operations: [put('last')], guards: [] });
  const bytes = transactions.map(({ operations }) => Buffer.byteLength(JSON.stringify(operations)));
  assert.ok(Math.max(...bytes) <= limits.etcdTransactionBytes, `${bytes}`);
  assert.deepEqual(
    transactions.flatMap(({ operations }) => operations.map(({ key }) => key)),
    [...keys, 'last'],
  );
});

test('records of the audit count as much as they weigh', () => {
  const entry = {
    what: 'end',
    phase: 'failed',
    reason: 'x'.repeat(60_000),
    exitCode: 4,
    rollout: 'r',
  } as const;
  const groups = Array.from({ length: 40 }, (_, index) => ({
    operations: [put(`key-${index}`)],
    guards: [],
    audit: [entry],
  }));
  const transactions = transactionsOf(groups, { operations: [], guards: [] });
  for (const { audit } of transactions)
    assert.ok(Buffer.byteLength(JSON.stringify(audit)) <= limits.etcdTransactionBytes);
});

test('a write that arrives late, behind a newer one of its own leader, is refused', () => {
  const etcd = new ModelEtcd();
  const seen = { slots: 0n, intents: 0n, labels: 0n };
  const hold = { reason: '', by: 'operator', sinceMs: 0 };
  const next = { ...emptyWorld, budget: { max: 2, generation: 1 }, holds: new Map([['node-1', hold]]) };
  const held = (from: typeof emptyWorld, to: typeof emptyWorld) =>
    transactionsOf(
      changedGroups(keys, from, to, (key) => etcd.get(key), seen),
      { operations: [], guards: [] },
    );
  const late = held(emptyWorld, next);
  assert.ok(late.every(({ operations, guards }) => etcd.transact(guards, operations) !== undefined));
  const newer = held(next, emptyWorld);
  assert.ok(newer.every(({ operations, guards }) => etcd.transact(guards, operations) !== undefined));
  const before = etcd.entries();
  for (const { operations, guards } of late) assert.equal(etcd.transact(guards, operations), undefined);
  assert.deepEqual(etcd.entries(), before);
});

test('words on any number of nodes fit: etcd takes so many operations and compares at once', () => {
  const held = { reason: '', by: 'operator', sinceMs: 0 };
  const holds = new Map(Array.from({ length: 300 }, (_, index) => [`node-${index}`, held]));
  const seen = { slots: 0n, intents: 0n, labels: 0n };
  const groups = changedGroups(keys, emptyWorld, { ...emptyWorld, holds }, () => undefined, seen);
  const transactions = transactionsOf(groups, { operations: [], guards: [] });
  for (const { operations, guards } of transactions)
    assert.ok(Math.max(operations.length, guards.length) <= 128);
  assert.equal(transactions.flatMap(({ operations }) => operations).length, 301, 'the budget, and each hold');
});
