/** How the writes of one decision become transactions: what belongs together is committed together. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { transactionsOf } from './world-writes.js';

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
