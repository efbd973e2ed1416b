/**
 * The first release of a node, through a real agent: from nothing to a version, and back to nothing
 * when that version does not get healthy, with backups of folders that are empty or not there.
 */
import assert from 'node:assert/strict';
import { readdir, rm, writeFile } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';
import { TinyPlan, type TokenNumbers } from './caller.test.part.js';
import { RunningNode } from './running-node.test.part.js';
import { createTinyCluster, type TinyCluster } from './tiny-node.test.part.js';

let cluster: TinyCluster;
before(async () => {
  cluster = await createTinyCluster();
});
after(() => rm(cluster.folder, { recursive: true, force: true }));

/** From none, with a backup; the data of a node's first release is of its own format already. */
function firstUpgrade(to: '0b1' | '0b2', id: string, token: TokenNumbers) {
  const order = new TinyPlan(cluster.releases, 'none', to).upgrade(id, token);
  if (order.step?.$case === 'upgrade') order.step.value.migrations = [];
  return order;
}

async function staged(running: RunningNode, ...versions: ('0b1' | '0b2')[]): Promise<void> {
  for (const [index, to] of versions.entries()) {
    const order = new TinyPlan(cluster.releases, 'none', to).stage(`stage-${to}`, [1, 5, index + 1]);
    assert.equal((await running.caller.execute(order)).result.outcome, 'done');
  }
}

describe('the first release of a node', () => {
  test('with nothing to back up fails back to nothing, restarts of the agent included', async (t) => {
    const running = await RunningNode.start(t, cluster, {
      version: 'none',
      backup: { paths: ['state', 'config'] },
    });
    const { node } = running;
    await staged(running, '0b1', '0b2');
    const { result } = await running.caller.execute(firstUpgrade('0b2', 'u2', [1, 5, 3]));
    assert.equal(result.outcome, 'rolled_back', result.failure?.message);
    assert.deepEqual(result.release, { version: 'none', digest: '' });
    await running.restart();
    const status = await running.caller.describe();
    assert.deepEqual([status.release?.version, status.inMaintenance], ['none', false]);
    assert.equal(status.needsOperator, undefined);
    assert.deepEqual(await node.links(), { current: undefined, previous: undefined, trial: undefined });
    assert.equal(await node.serviceVersion(), undefined);
    assert.deepEqual(
      (await readdir(node.at('run'))).sort(),
      ['agent.sock', 'service.log'],
      'nothing is known to run',
    );
    assert.equal((await readdir(node.at())).includes('state'), false, 'what was not there is not made');

    const done = await running.caller.execute(firstUpgrade('0b1', 'u1', [1, 5, 4]));
    assert.equal(done.result.outcome, 'done', done.result.failure?.message);
    assert.equal(done.result.backupId, 'u1');
    assert.equal(await node.serviceVersion(), '0b1');
    await running.healthy();
  });

  test('that writes before it fails leaves nothing of it', async (t) => {
    const running = await RunningNode.start(t, cluster, { version: 'none' });
    const { node } = running;
    await staged(running, '0b2');
    await node.mark('maintenance.hold-leave');
    const { ended } = await running.caller.executeUntil(firstUpgrade('0b2', 'u2', [1, 5, 3]), 'probing');
    await writeFile(node.at('data', 'written-by-0b2'), 'new');
    await node.unmark('maintenance.hold-leave');
    assert.equal((await ended).result.outcome, 'rolled_back');
    assert.deepEqual(await readdir(node.at('data')), ['notes.json']);
    assert.deepEqual(node.isInMaintenance(), { record: false, hook: false });
  });
});
