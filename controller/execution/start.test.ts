/**
 * A start is in force by one transaction, however many nodes it has: whatever becomes of the leader, there is
 * the whole rollout or none, and no word in the audit record about one that never was.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  cluster,
  direct,
  lead,
  mirror,
  nodeOperations,
  phaseOf,
  start,
  started,
} from '../../test/cluster/term.test.part.js';
import { readPrefix, transact } from '../leadership/etcd.js';

const count = 120;
const names = Array.from({ length: count }, (_, index) => `node-${index + 1}`);

/** Nodes that were seen, and that nobody can reach now. */
async function enlist(): Promise<void> {
  for (const node of names) await transact(direct, [], nodeOperations(node, ''));
}

const isRecord = (key: string): boolean => /\/rollouts\/[^/]+\/nodes\//.test(key);
const isMade = (key: string): boolean => key.includes('/plan/') || isRecord(key);

/** Waits until the checks have begun on every node. */
async function begun(id: string): Promise<void> {
  const records = () =>
    mirror.under(cluster.keys.rolloutNodes(id)).filter(({ value }) => value.includes('"preflight"'));
  await mirror.waitFor(() => records().length === count, 15_000);
  assert.equal(records().length, count);
}

describe('a start of many nodes', () => {
  test('stores nothing but what it is made of before, and one transaction puts it in force', async () => {
    await enlist();
    const term = await lead();
    const id = await started(await start());
    await begun(id);
    const { active } = cluster.keys;
    const at = term.sent.findIndex((keys) => keys.includes(active));
    // Nor does a status tell of it, and a controller that knows no other way finds the record of every node.
    const before = term.sent.slice(0, at).flat();
    assert.deepEqual(
      before.filter((key) => !isMade(key)),
      [],
    );
    assert.equal(before.filter(isRecord).length, count);
    assert.equal(term.sent.filter((keys) => keys.includes(active)).length, 1);
    assert.ok(term.sent[at]?.includes(cluster.keys.rolloutState(id)));
  });

  for (const [what, isIt] of [
    ['its first', (keys: readonly string[]) => keys.includes(cluster.keys.active)],
    ['a later', (keys: readonly string[]) => keys.some(isRecord)],
  ] as const) {
    test(`goes on when ${what} transaction has an unknown end`, async () => {
      await enlist();
      let isInForce = false;
      let lost = 0;
      const isLost = (keys: readonly string[]): boolean => {
        isInForce ||= keys.includes(cluster.keys.active);
        return isInForce && isIt(keys) && lost++ === 0;
      };
      const term = await lead({ isLost });
      const id = await started(await start());
      await begun(id);
      assert.ok(lost > 0 && !term.isOver, await Promise.race([term.over, 'it leads']));
      assert.equal(phaseOf(id), 'preflight');
      const { entries } = await readPrefix(direct, cluster.keys.rollouts);
      assert.ok(entries.every(({ key }) => key.startsWith(cluster.keys.rollout(id))));
    });
  }
});
