/** The audit record: one chain, in which nothing can be changed, taken out or put in unseen. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { EtcdEntry } from '../leadership/etcd.js';
import { emptyWorld } from '../rollout/empty-world.test.part.js';
import { wishMaintenance } from '../rollout/manual.js';
import type { World } from '../rollout/world.js';
import { AuditChain, type AuditEntry, appendAudit, emptyHead, headOf } from './audit.js';
import { maintenanceEntries } from './audit-entries.js';
import { clusterKeys } from './keys.js';

const keys = clusterKeys('paper');
const stamp = { at: new Date(0), term: '7' };
const facts: readonly AuditEntry[] = [
  { what: 'leader', rollout: '', who: 'controller-0', address: '127.0.0.1:1', epoch: '1' },
  { what: 'command', rollout: 'u1', node: 'node-1', commandId: 'u1.node-1.upgrade.1', step: 'upgrade' },
  { what: 'end', rollout: 'u1', phase: 'succeeded', reason: 'the one node runs 0b1', exitCode: 0 },
];

function stored(entries: readonly AuditEntry[], from = emptyHead): EtcdEntry[] {
  return appendAudit(keys, from, entries, stamp).operations.flatMap((operation) =>
    operation.kind === 'put'
      ? [{ key: operation.key, value: operation.value, createRevision: 1n, modRevision: 1n, lease: '0' }]
      : [],
  );
}

function check(entries: readonly EtcdEntry[]): void {
  const chain = new AuditChain();
  for (const entry of entries) chain.take(entry);
}

describe('the chain', () => {
  test('goes on where it ended, under keys that sort as their numbers do', () => {
    const first = stored(facts);
    const more = stored(facts, headOf(first.at(-1)));
    check([...first, ...more]);
    const all = [...first, ...more].map(({ key }) => key);
    assert.deepEqual(all, [...all].sort());
    assert.equal(headOf(more.at(-1)).sequence, 6);
    assert.deepEqual(headOf(undefined), emptyHead);
    check(more);
  });

  test('only creates its records', () => {
    const { guards, operations, head } = appendAudit(keys, { sequence: 9, hash: 'h' }, facts, stamp);
    assert.deepEqual(guards, [{ kind: 'createRevision', key: keys.auditRecord(10), equals: 0n }]);
    assert.equal(operations.length, 3);
    assert.equal(head.sequence, 12);
    assert.deepEqual(appendAudit(keys, emptyHead, [], stamp), {
      operations: [],
      guards: [],
      head: emptyHead,
    });
  });

  test('shows what was changed, taken out, put in or written anew', () => {
    const entries = stored(facts);
    const [one, two, three] = entries;
    assert.ok(one && two && three);
    const changed = { ...two, value: two.value.replace('node-1', 'node-2') };
    assert.throws(() => check([one, changed, three]), {
      code: 'STORE_INVALID',
      message: /000002.*was changed/,
    });
    assert.throws(() => check([one, three]), {
      code: 'STORE_INVALID',
      message: /000003.*after 1 is missing/,
    });
    assert.throws(() => check([one, two, two]), { code: 'STORE_INVALID', message: /after 2 is missing/ });
    const [, forged] = stored([facts[0] as AuditEntry, { ...(facts[1] as AuditEntry), rollout: 'u2' }]);
    assert.ok(forged);
    check([one, forged]);
    assert.throws(() => check([one, forged, three]), { message: /000003.*does not follow on/ });
    assert.throws(() => check([{ ...one, value: '{"sequence":1}' }]), { code: 'STORE_INVALID' });
  });
});

describe("an operator's maintenance", () => {
  const on = wishMaintenance(emptyWorld, 'node-1', true, 'new disks', 1_000);
  const changed = (world: World, change: object): World => {
    const [key, slot] = [...world.slots][0] ?? [];
    assert.ok(key !== undefined && slot !== undefined && slot.maintenance !== null);
    const maintenance = { ...slot.maintenance, ...change };
    return { ...world, slots: new Map([[key, { ...slot, maintenance }]]) };
  };
  const told = (before: World, after: World): string[] =>
    maintenanceEntries(before, after, 'node-1').map((entry) =>
      entry.what === 'outcome'
        ? `${entry.commandId} ${entry.outcome}`
        : `${entry.what} ${JSON.stringify('commandId' in entry && entry.commandId)}`,
    );
  const first = 'maintenance.node-1.1000.1';
  const second = 'maintenance.node-1.1000.2';

  test('is commanded once, and ends once', () => {
    assert.deepEqual(told(emptyWorld, on), [`command "${first}"`]);
    assert.deepEqual(told(on, on), []);
    const done = changed(on, { done: true });
    assert.deepEqual(told(on, done), [`${first} done`]);
    const off = wishMaintenance(done, 'node-1', false, '', 2_000);
    assert.deepEqual(told(done, off), [`command "${second}"`]);
    assert.deepEqual(told(off, emptyWorld), [`${second} done`]);
    assert.deepEqual(told(off, changed(off, { failed: true })), [`${second} failed`]);
  });

  test('that another wish, or a rollout, takes the place of is told as that', () => {
    const off = wishMaintenance(on, 'node-1', false, '', 2_000);
    assert.deepEqual(told(on, off), [`${first} superseded`, `command "${second}"`]);
    const [key, slot] = [...on.slots][0] ?? [];
    assert.ok(key !== undefined && slot !== undefined);
    const taken = { ...on, slots: new Map([[key, { ...slot, rollout: 'u1', sinceMs: 3_000 }]]) };
    assert.deepEqual(told(on, taken), [`${first} superseded`]);
    assert.deepEqual(told(on, emptyWorld), [`${first} superseded`]);
  });

  test('whose node is taken off before its end did not end well', () => {
    const listed = { ...on, labels: new Map([['node-1', {}]]) };
    const off = wishMaintenance(listed, 'node-1', false, '', 2_000);
    assert.deepEqual(told(off, { ...emptyWorld, labels: new Map() }), [`${second} superseded`]);
    assert.deepEqual(told(off, { ...emptyWorld, labels: off.labels }), [`${second} done`]);
  });
});
