/**
 * Releases bring any number of migrations: a plan that can be stored is stored, whatever it weighs, and one
 * that cannot is refused before anything starts.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sampleManifest, sampleMigration } from '../../release/sample-release.test.part.js';
import {
  agents,
  cluster,
  direct,
  lead,
  mirror,
  nodeOperations,
  outcome,
  start,
  started,
} from '../../test/cluster/term.test.part.js';
import { transact } from '../leadership/etcd.js';

async function offer(count: number): Promise<void> {
  const migrations = Array.from({ length: count }, (_, index) => sampleMigration(`change-${index}`));
  await cluster.writeRepository([sampleManifest('0a1'), sampleManifest('0b1', migrations)]);
}

test('a plan that weighs more than etcd takes at once is stored all the same', async () => {
  await offer(300);
  const names = Array.from({ length: 60 }, (_, index) => `node-${index + 1}`);
  for (const node of names) await transact(direct, [], nodeOperations(node, ''));
  const term = await lead();
  const id = await started(await start());
  const parts = () => mirror.under(`${cluster.keys.plan(id)}/nodes/`);
  await mirror.waitFor(() => parts().length === names.length, 10_000);
  assert.equal(parts().length, names.length);
  assert.ok(!term.isOver);
});

test('a plan with more migrations for a node than can be stored is refused in a sentence', async () => {
  await offer(1_000);
  await agents(1);
  const term = await lead();
  const { error } = await outcome(await start());
  assert.equal(error?.code, 'PLAN_REFUSED');
  assert.equal(
    error.message,
    'node-1 would run 1000 migrations on its way from 0a1 to 0b1, more than its part of a plan holds; go by a version in between',
  );
  assert.ok(!term.isOver);
});
