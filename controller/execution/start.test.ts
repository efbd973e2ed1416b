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

const isOfPlan = (key: string): boolean => key.includes('/plan/');
const isRecord = (key: string): boolean => /\/rollouts\/[^/]+\/nodes\//.test(key);

/** Waits until every node of a rollout has its record. */
async function recorded(id: string): Promise<void> {
  const prefix = cluster.keys.rolloutNodes(id);
  await mirror.waitFor(() => mirror.under(prefix).length === count, 15_000);
  assert.equal(mirror.under(prefix).length, count);
}

describe('a start of many nodes', () => {
  test('stores nothing but its plan before it is in force, and one transaction puts it in force', async () => {
    await enlist();
    const term = await lead();
    const id = await started(await start());
    await recorded(id);
    const { active, audit } = cluster.keys;
    const at = term.sent.findIndex((keys) => keys.includes(active));
    const before = term.sent.slice(0, at).filter((keys) => keys.some((key) => key.includes(id)));
    assert.ok(before.length > 0 && before.every((keys) => keys.every(isOfPlan)));
    const words = term.sent.slice(0, at).filter((keys) => keys.some((key) => key.startsWith(audit)));
    assert.deepEqual(words, []);
    assert.equal(term.sent.filter((keys) => keys.includes(active)).length, 1);
    assert.ok(term.sent[at]?.includes(cluster.keys.rolloutState(id)));
  });

  for (const [what, isIt] of [
    ['its first', (keys: readonly string[]) => keys.includes(cluster.keys.active)],
    ['a later', (keys: readonly string[]) => keys.some(isRecord)],
  ] as const) {
    test(`goes on when ${what} transaction has an unknown end`, async () => {
      await enlist();
      let lost = 0;
      const term = await lead({ isLost: (keys) => isIt(keys) && lost++ === 0 });
      const id = await started(await start());
      await recorded(id);
      assert.ok(lost > 0 && !term.isOver, await Promise.race([term.over, 'it leads']));
      assert.equal(phaseOf(id), 'preflight');
      const { entries } = await readPrefix(direct, cluster.keys.rollouts);
      assert.ok(entries.every(({ key }) => key.startsWith(cluster.keys.rollout(id))));
    });
  }
});
