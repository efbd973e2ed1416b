/**
 * A release that was damaged on a node's disk is staged anew beside itself, and the service is started
 * from the whole copy; through a real agent, with a real service.
 */
import assert from 'node:assert/strict';
import { readdir, readlink, rm, writeFile } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';
import type { Command } from '../../gen/plexi/v1/node_agent.js';
import { treeDifferences } from '../../release/tree.js';
import { command, TinyPlan, type TokenNumbers } from '../caller.test.part.js';
import { RunningNode } from '../running-node.test.part.js';
import { createTinyCluster, type TinyCluster } from '../tiny-node.test.part.js';

let cluster: TinyCluster;
let plan: TinyPlan;
let folder = '';
before(async () => {
  cluster = await createTinyCluster();
  plan = new TinyPlan(cluster.releases, '0a1', '0a1');
  folder = `0a1-${cluster.releases['0a1'].artifact.treeDigest.slice(0, 12)}`;
});
after(() => rm(cluster.folder, { recursive: true, force: true }));

function stage(id: string, token: TokenNumbers, reinstall = true): Command {
  const order = plan.stage(id, token);
  if (order.step?.$case === 'stage') order.step.value.reinstall = reinstall;
  return order;
}

function preflight(id: string, token: TokenNumbers): Command {
  const release = plan.release('0a1');
  const bounds = { unpackedBytes: 1_000n, controllerTime: new Date(), backup: false };
  const rest = { maintenanceHooks: true, backupPolicy: undefined, os: '', arch: '', allowUnhealthy: true };
  return command(id, token, {
    $case: 'preflight',
    value: { from: release, to: release, ...bounds, ...rest },
  });
}

/** Preflight, staging and upgrade, as one rollout sends them; returns the folder that runs then. */
async function reinstall(running: RunningNode, id: string, term: number): Promise<string> {
  const { caller, node } = running;
  for (const order of [
    preflight(`${id}.p`, [1, term, 1]),
    stage(`${id}.s`, [1, term, 2]),
    plan.upgrade(`${id}.u`, [1, term, 3]),
  ]) {
    const { result } = await caller.execute(order);
    assert.equal(result.outcome, 'done', result.failure?.message);
  }
  return (await readlink(node.at('current'))).replace('releases/', '');
}

async function damage(running: RunningNode, name: string): Promise<void> {
  await writeFile(running.node.at('releases', name, 'server.mjs'), 'damaged');
}

async function assertRunsFrom({ node }: RunningNode, name: string): Promise<void> {
  const { files } = cluster.releases['0a1'].artifact;
  assert.deepEqual(await treeDifferences(node.at('releases', name), files), []);
  assert.equal(await readlink(`/proc/${node.servicePid()}/cwd`), node.at('releases', name));
  assert.equal(await node.serviceVersion(), '0a1');
}

describe('a reinstallation', () => {
  test('replaces a damaged release by a whole copy beside it, again and again', async (t) => {
    const running = await RunningNode.start(t, cluster);
    await damage(running, folder);
    assert.equal(await reinstall(running, 'first', 5), `${folder}-2`);
    await assertRunsFrom(running, `${folder}-2`);
    assert.equal((await running.node.links()).previous, `releases/${folder}`);
    await damage(running, `${folder}-2`);
    assert.equal(await reinstall(running, 'second', 6), `${folder}-3`);
    await assertRunsFrom(running, `${folder}-3`);
    assert.deepEqual(
      (await readdir(running.node.at('releases'))).filter((name) => name.startsWith('.')),
      [],
    );
  });

  test('of a release that is whole makes no copy', async (t) => {
    const running = await RunningNode.start(t, cluster);
    assert.equal(await reinstall(running, 'first', 5), folder);
    await assertRunsFrom(running, folder);
  });

  test('is what an operator has to ask for: else staging refuses a damaged release', async (t) => {
    const running = await RunningNode.start(t, cluster);
    await damage(running, folder);
    const { result } = await running.caller.execute(stage('s', [1, 5, 1], false));
    assert.equal(result.outcome, 'failed');
    assert.match(result.failure?.message ?? '', /was changed by hand \(server\.mjs/);
  });

  test('stays the one that later rollouts go back to and compare with', async (t) => {
    const running = await RunningNode.start(t, cluster);
    await damage(running, folder);
    await reinstall(running, 'first', 5);
    const later = new TinyPlan(cluster.releases, '0a1', '0b2');
    assert.equal((await running.caller.execute(later.stage('s', [1, 6, 1]))).result.outcome, 'done');
    const { result } = await running.caller.execute(later.upgrade('u', [1, 6, 2]));
    assert.equal(result.outcome, 'rolled_back', result.failure?.message);
    await assertRunsFrom(running, `${folder}-2`);
  });
});
