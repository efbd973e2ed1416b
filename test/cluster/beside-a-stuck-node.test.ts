/**
 * A node that needs an operator keeps no other node from going back (protocol, rule 17): it is left out of the
 * rollback, which says so, and stays as it is.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { transact } from '../../controller/leadership/etcd.js';
import {
  agents,
  cluster,
  direct,
  lead,
  mirror,
  outcome,
  reaches,
  start,
  started,
  wish,
} from './term.test.part.js';

/** Puts a node among those that need an operator, as a failed rollback of a later rollout would. */
async function strand(node: string): Promise<void> {
  const slot = {
    node,
    reason: 'its rollback failed',
    rollout: 'later',
    term: '1',
    since: new Date().toISOString(),
  };
  const key = cluster.keys.slot(`stuck-${node}`);
  await transact(direct, [], [{ kind: 'put', key, value: JSON.stringify(slot) }]);
  await mirror.waitFor(() => mirror.get(key) !== undefined, 10_000);
}

function rollback(rollout: string, requestId = 'once'): Promise<string> {
  return wish({ kind: 'rollback', requestId, rollout });
}

test('a rollback leaves a node that needs an operator as it is, and takes the others back', async () => {
  const [one, two] = await agents(2);
  const term = await lead();
  const forward = await started(await start());
  await reaches(forward, 'succeeded');
  await strand('node-2');
  const back = await started(await rollback(forward));
  await reaches(back, 'succeeded');
  assert.deepEqual([one?.release.version, two?.release.version], ['0a1', '0b1']);
  assert.ok(mirror.get(cluster.keys.slot('stuck-node-2')));
  assert.match(mirror.get(cluster.keys.rolloutState(back))?.value ?? '', /left as they are[^"]*: node-2/);

  // Once it is put right, the same rollback takes back what is left of it.
  await transact(direct, [], [{ kind: 'delete', key: cluster.keys.slot('stuck-node-2') }]);
  const again = await started(await rollback(forward, 'again'));
  await reaches(again, 'succeeded');
  assert.deepEqual([one?.release.version, two?.release.version], ['0a1', '0a1']);
  assert.ok(!term.isOver);
});

test('there is nothing to take back when every node needs an operator', async () => {
  await agents(1);
  await lead();
  const forward = await started(await start());
  await reaches(forward, 'succeeded');
  await strand('node-1');
  const { error } = await outcome(await rollback(forward));
  assert.equal(error?.code, 'CONFLICT');
  assert.match(
    error?.message ?? '',
    /an operator is needed before node-1 can go back; look with plexictl why node-1/,
  );
});
