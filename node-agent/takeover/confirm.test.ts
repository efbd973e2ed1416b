/**
 * After somebody changed a node by hand, an operator's word for what runs is taken, through a real
 * agent: the release on the disk is what runs, nothing is stopped, and what a failed job left behind
 * counts as put right.
 */
import assert from 'node:assert/strict';
import { cp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { CommandResult, TakeOverStep } from '../../gen/plexi/v1/node_agent.js';
import { treeDifferences } from '../../release/tree.js';
import { maintenance, TinyPlan } from '../caller.test.part.js';
import { localRelease, nodePaths } from '../node.js';
import { RunningNode } from '../running-node.test.part.js';
import { isAlive, liveProcess } from '../service/process-table.js';
import { createTinyCluster, type TinyCluster } from '../tiny-node.test.part.js';
import { everythingOf, HandStarted, oldData, takeOver } from './hand-started.test.part.js';

const together = { concurrency: 2 };
let cluster: TinyCluster;
before(async () => {
  cluster = await createTinyCluster();
});
after(() => rm(cluster.folder, { recursive: true, force: true }));

/** Raised with each command, so that none is late. */
let term = 100;

async function confirm(running: RunningNode, changes: Partial<TakeOverStep> = {}): Promise<CommandResult> {
  term += 1;
  const order = {
    version: '0a1',
    confirm: true,
    reason: 'put right by hand',
    timeoutMs: 20_000n,
    ...changes,
  };
  return (await running.caller.execute(takeOver(`confirm-${term}`, [1, term, 1], order))).result;
}

function folderOf(release: CommandResult['release']): string {
  return `${release?.version}-${release?.digest.slice(0, 12)}`;
}

/** A rollout to 0b2 fails, and the way back does too: the old release does not start any more. */
async function failedRollback(running: RunningNode): Promise<void> {
  const { node, caller } = running;
  const plan = new TinyPlan(cluster.releases, '0a1', '0b2');
  await caller.execute(plan.stage('s', [1, 5, 1]));
  const server = node.at('releases', folderOf(plan.release('0a1')), 'server.mjs');
  await rm(server);
  const order = plan.upgrade('u', [1, 5, 2]);
  if (order.step?.$case === 'upgrade' && order.step.value.timeouts !== undefined)
    order.step.value.timeouts.rollbackMs = 1_000n;
  const { result } = await caller.execute(order);
  assert.equal(result.outcome, 'rollback_failed', result.failure?.message);
  assert.equal((await caller.describe()).needsOperator?.code, 'ROLLBACK_FAILED');
  assert.deepEqual(node.isInMaintenance(), { record: true, hook: true });
}

/** The operator puts the program back, with a word of his own in it, and starts it. */
async function putRight(
  t: Parameters<typeof HandStarted.start>[0],
  running: RunningNode,
): Promise<HandStarted> {
  const directory = running.node.at(
    'releases',
    folderOf(new TinyPlan(cluster.releases, '0a1', '0b2').release('0a1')),
  );
  const source = await readFile(join(cluster.folder, 'source', '0a1', 'server.mjs'), 'utf8');
  await writeFile(join(directory, 'server.mjs'), `// put back by hand\n${source}`);
  return HandStarted.start(t, cluster, running.node, { directory, asItIs: true });
}

describe('a confirmation', together, () => {
  test('after a failed rollback takes what runs as it is, and the node is back in service', async (t) => {
    const running = await RunningNode.start(t, cluster);
    const { node, caller } = running;
    await failedRollback(running);
    const trouble = (await caller.describe()).needsOperator;
    const nothingRuns = await confirm(running);
    assert.equal(nothingRuns.failure?.code, 'TAKE_OVER_FAILED');
    assert.match(nothingRuns.failure?.message ?? '', /no process of this user runs from/);
    assert.deepEqual((await caller.describe()).needsOperator, trouble, 'it is not put right yet');

    const service = await putRight(t, running);
    const result = await confirm(running);
    assert.equal(result.outcome, 'done', result.failure?.message);
    assert.equal(node.servicePid(), service.pid);
    assert.ok(service.lives);
    assert.equal((await caller.describe()).needsOperator, undefined);
    assert.deepEqual(node.isInMaintenance(), { record: false, hook: false });
    assert.equal(result.release?.version, '0a1');
    assert.notEqual(
      result.release?.digest,
      cluster.releases['0a1'].artifact.treeDigest,
      'other files are another release',
    );
    const folder = folderOf(result.release);
    assert.deepEqual(await node.links(), {
      current: `releases/${folder}`,
      previous: undefined,
      trial: undefined,
    });
    const release = await localRelease(nodePaths(node.config.root), folder);
    assert.deepEqual(release?.manifest.service.start, ['node', 'server.mjs'], 'as the old manifest said');
    assert.deepEqual(
      await treeDifferences(node.at('releases', folder), release?.manifest.artifacts[0]?.files ?? []),
      [],
    );
    await running.healthy();
  });

  test('is what a failed rollback asks for; maintenance by hand does not answer it, however it ends', async (t) => {
    const running = await RunningNode.start(t, cluster);
    const { node, caller } = running;
    await failedRollback(running);
    const stillAsks = async (when: string): Promise<void> => {
      const { needsOperator } = await caller.describe();
      assert.equal(needsOperator?.code, 'ROLLBACK_FAILED', when);
      assert.match(needsOperator.message, /going back failed at probe_old/);
    };
    const off = await caller.execute(maintenance('off', [1, 6, 1], false));
    assert.equal(off.result.outcome, 'done', off.result.failure?.message);
    await stillAsks('after a good one');
    await node.mark('maintenance.fail');
    const on = await caller.execute(maintenance('on', [1, 6, 2], true));
    assert.equal(on.result.outcome, 'failed');
    await stillAsks('after one whose hook failed');
    await putRight(t, running);
    const result = await confirm(running);
    assert.equal(result.outcome, 'done', result.failure?.message);
    assert.equal((await caller.describe()).needsOperator, undefined);
  });

  for (const [what, file] of [
    ['mark', (folder: string) => join(folder, '.complete')],
    ['manifest', (folder: string) => `${folder}.manifest.json`],
  ] as const) {
    test(`repairs a damaged ${what} of what runs, for which the node asks for an operator`, async (t) => {
      const running = await RunningNode.start(t, cluster);
      const { node } = running;
      const pid = node.servicePid();
      const current = (await node.links()).current ?? '';
      await running.restart(() => writeFile(file(node.at(current)), '{"torn'));
      const { needsOperator, release } = await running.caller.describe();
      assert.equal(needsOperator?.code, 'RELEASE_INVALID');
      assert.match(needsOperator.message, /cannot be trusted.*plexictl node confirm node-1/);
      assert.deepEqual([release?.version, release?.digest], ['', '']);
      const plan = new TinyPlan(cluster.releases, '0a1', '0b1');
      const staged = await running.caller.execute(plan.stage('s', [1, 5, 1]));
      assert.equal(staged.result.outcome, 'failed', 'there is no way back that could be trusted');
      const result = await confirm(running);
      assert.equal(result.outcome, 'done', result.failure?.message);
      assert.deepEqual(result.release, plan.release('0a1'));
      assert.equal((await running.caller.describe()).needsOperator, undefined);
      assert.equal((await node.links()).current, current);
      assert.equal(node.servicePid(), pid);
    });
  }

  test('of what nobody changed changes nothing', async (t) => {
    const running = await RunningNode.start(t, cluster);
    const main = liveProcess(running.node.servicePid());
    const before = await everythingOf(running.node);
    const result = await confirm(running);
    assert.equal(result.outcome, 'done', result.failure?.message);
    assert.deepEqual(await everythingOf(running.node), before);
    assert.ok(main !== undefined && isAlive(main));
  });

  test('of another release, put in the place of the old one, stages that release', async (t) => {
    const running = await RunningNode.start(t, cluster);
    const { node } = running;
    await running.caller.execute(maintenance('on', [1, 5, 1], true, 'mine'));
    const directory = node.at(
      'releases',
      folderOf(new TinyPlan(cluster.releases, '0a1', '0b1').release('0a1')),
    );
    process.kill(node.servicePid(), 'SIGKILL');
    await running.stop();
    await cp(join(cluster.folder, 'source', '0b1'), directory, { recursive: true });
    await writeFile(node.at('data', 'notes.json'), '{"format":2,"notes":[]}\n');
    const service = await HandStarted.start(t, cluster, node, { directory, asItIs: true });
    await running.restart();
    const result = await confirm(running, { version: '0b1' });
    assert.equal(result.outcome, 'done', result.failure?.message);
    assert.deepEqual(result.release, new TinyPlan(cluster.releases, 'none', '0b1').release('0b1'));
    assert.equal(node.servicePid(), service.pid);
    assert.equal(node.isInMaintenance().record, true, 'an operator took it out, and puts it back');
  });

  test('may name the folder, and takes over a node that never had a release', async (t) => {
    const running = await RunningNode.start(t, cluster, { version: 'none' });
    await oldData(running.node);
    const nowhere = await confirm(running, { version: '3.0.0' });
    assert.match(nowhere.failure?.message ?? '', /nothing is installed on node-1; name the folder/);
    const service = await HandStarted.start(t, cluster, running.node);
    const result = await confirm(running, { version: '3.0.0', directory: service.directory });
    assert.equal(result.outcome, 'done', result.failure?.message);
    assert.equal(running.node.servicePid(), service.pid);
  });

  test('follows a link that leads out of the releases', async (t) => {
    const running = await RunningNode.start(t, cluster, { version: 'none' });
    const { node } = running;
    await oldData(node);
    const service = await HandStarted.start(t, cluster, node);
    await symlink(service.directory, node.at('current'));
    const result = await confirm(running, { version: '3.0.0' });
    assert.equal(result.outcome, 'done', result.failure?.message);
    assert.equal((await node.links()).current, `releases/${folderOf(result.release)}`);
  });

  test('of a version that the service does not say leaves everything as it was', async (t) => {
    const running = await RunningNode.start(t, cluster);
    const before = await everythingOf(running.node);
    const result = await confirm(running, { version: '0b1', timeoutMs: 3_000n });
    assert.equal(result.failure?.code, 'TAKE_OVER_FAILED');
    assert.match(result.failure?.message ?? '', /not healthy as 0b1/);
    assert.deepEqual(await everythingOf(running.node), before);
    assert.equal(await running.node.serviceVersion(), '0a1');
  });
});
