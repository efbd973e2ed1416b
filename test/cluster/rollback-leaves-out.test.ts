/**
 * A node that cannot go back keeps no other one from it (protocol, rules 17 and 18): one that nobody can
 * reach, one that was taken off the list. Groups are counted with every node of the cluster.
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

function rollback(rollout: string): Promise<string> {
  return wish({ kind: 'rollback', requestId: 'once', rollout });
}

test('a rollback leaves a host that is dead and a node that is gone as they are, and takes the others back', async () => {
  const all = await agents(4);
  const term = await lead();
  const forward = await started(await start());
  await reaches(forward, 'succeeded');
  await all[2]?.goAway();
  const status = cluster.keys.nodeStatus('node-3');
  await mirror.waitFor(() => mirror.get(status)?.value.includes('"unknown":true') ?? false, 10_000);
  assert.equal((await outcome(await wish({ kind: 'remove', node: 'node-4' }))).error, null);
  const back = await started(await rollback(forward));
  await reaches(back, 'succeeded');
  assert.deepEqual(
    all.map(({ release }) => release.version),
    ['0a1', '0a1', '0b1', '0b1'],
  );
  const state = mirror.get(cluster.keys.rolloutState(back))?.value ?? '';
  assert.match(state, /left as they are[^"]*: node-3, node-4/);
  assert.ok(!term.isOver);
});

test('a rollback of some nodes counts the others of a group, which serve', async () => {
  const [one, two] = await agents(2);
  for (const agent of [one, two]) {
    const spec = { address: agent?.address, labels: { role: 'db' } };
    const key = cluster.keys.nodeSpec(agent?.node ?? '');
    await transact(direct, [], [{ kind: 'put', key, value: JSON.stringify(spec) }]);
  }
  const groups = [{ name: 'db', labels: { role: 'db' }, min_available: 1 }];
  await lead({}, undefined, { rollout: { soak_ms: 0, groups } });
  const forward = await started(await start('some', '0b1', ['node-1']));
  await reaches(forward, 'succeeded');
  const back = await started(await rollback(forward));
  await reaches(back, 'succeeded');
  assert.deepEqual([one?.release.version, two?.release.version], ['0a1', '0a1']);
});
