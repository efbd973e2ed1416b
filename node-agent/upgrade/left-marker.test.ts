/**
 * What a way back leaves behind never takes the running release with it (elastic-agent #14699): neither a link
 * that still names the failed one, or the one that runs, nor a half unpacked copy, nor a mark that was lost.
 */
import assert from 'node:assert/strict';
import { mkdir, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { describe, test } from 'node:test';
import { treeDifferences } from '../../release/tree.js';
import { CheckedNode, clusterWith, linkTo } from './checked-node.test.part.js';

const { cluster, old, next: broken } = await clusterWith('0b4', { isHealthy: false });

/** Brings the node to a release that never gets healthy, and back. */
async function upgradeAndGoBack(checked: CheckedNode): Promise<void> {
  const { result } = await checked.stageAndUpgrade(old, broken, {
    timeouts: {
      ...{ maintenanceMs: 10_000n, stopMs: 5_000n, backupMs: 5_000n, migrateMs: 5_000n },
      ...{ applyMs: 5_000n, probeMs: 300n, testMs: 5_000n, rollbackMs: 10_000n },
    },
  });
  assert.equal(result.outcome, 'rolled_back', result.failure?.message);
}

/** 0a1 runs, from its own folder, and every file of it is there. */
async function assertRunning({ node }: CheckedNode): Promise<void> {
  assert.equal((await node.links()).current, linkTo(old));
  assert.deepEqual(await treeDifferences(node.at(linkTo(old)), old.artifact.files), []);
  assert.equal(await node.serviceVersion(), '0a1');
}

describe('what is left behind', { concurrency: 2 }, () => {
  const markers: [what: string, leave: (checked: CheckedNode) => Promise<unknown>][] = [
    [
      'a trial of the failed release, and a half unpacked copy of the one that runs,',
      async ({ node }) => {
        await symlink(linkTo(broken), node.at('trial'));
        const folder = node.at('releases', `.staging-${basename(linkTo(old))}`);
        await mkdir(folder);
        await writeFile(`${folder}/server.mjs`, 'half');
      },
    ],
    ['a trial of the release that runs', ({ node }) => symlink(linkTo(old), node.at('trial'))],
  ];
  for (const [what, leave] of markers) {
    test(`${what} stays after a way back: the next agent and the next way back leave the running one whole`, async (t) => {
      const checked = await CheckedNode.start(t, cluster);
      await upgradeAndGoBack(checked);
      const pid = checked.node.servicePid();
      await checked.stop();
      await leave(checked);
      await checked.restart();
      await checked.healthy();
      await assertRunning(checked);
      assert.equal(checked.node.servicePid(), pid, 'the service was not started anew');
      await upgradeAndGoBack(checked);
      await assertRunning(checked);
      assert.equal((await checked.node.links()).trial, undefined);
      await checked.caller.execute(checked.stageOrder(old));
      await assertRunning(checked);
    });
  }

  test('the mark of the running release is lost, and it has a file more: it is not staged over, and runs on', async (t) => {
    const checked = await CheckedNode.start(t, cluster);
    const { node } = checked;
    await rm(node.at(linkTo(old), '.complete'));
    await writeFile(node.at(linkTo(old), 'written-by-the-service'), 'x');
    const { result } = await checked.caller.execute(checked.stageOrder(old));
    assert.equal(result.failure?.code, 'RELEASE_DIGEST_MISMATCH', result.failure?.message);
    assert.equal(await node.serviceVersion(), '0a1');
    await rm(node.at(linkTo(old), 'written-by-the-service'));
    await assertRunning(checked);
    const again = await checked.caller.execute(checked.stageOrder(old));
    assert.equal(again.result.outcome, 'done', again.result.failure?.message);
    assert.ok((await readdir(node.at(linkTo(old)))).includes('.complete'), 'the mark is there again');
    await assertRunning(checked);
  });
});
