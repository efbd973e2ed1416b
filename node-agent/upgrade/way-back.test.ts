/**
 * Before anything is stopped, a node looks whether what it would go back to is what runs there, whole, as the
 * plan believes (flagger #1931): a way back to something else would be found out when it is needed.
 */
import assert from 'node:assert/strict';
import { readdir, writeFile } from 'node:fs/promises';
import { describe, test } from 'node:test';
import type { StageStep } from '../../gen/plexi/v1/node_agent.js';
import { CheckedNode, clusterWith, linkTo, releaseOf } from './checked-node.test.part.js';

const { cluster, old, next } = await clusterWith('0b3');

/** Stages 0b3, and asserts that what runs is as it was. */
async function stage(checked: CheckedNode, changes: Partial<StageStep>) {
  const { node } = checked;
  const before = { links: await node.links(), pid: node.servicePid() };
  const { result } = await checked.caller.execute(checked.stageOrder(next, changes));
  assert.deepEqual({ links: await node.links(), pid: node.servicePid() }, before);
  assert.deepEqual(result.release, releaseOf(old));
  const folders = (await readdir(node.at('releases'))).filter((name) => name.startsWith('0b3-'));
  return { result, isStaged: folders.length > 0 };
}

describe('what a node would go back to', () => {
  test('is what runs there, and whole: then the release is staged', async (t) => {
    const checked = await CheckedNode.start(t, cluster);
    const { result, isStaged } = await stage(checked, { back: releaseOf(old) });
    assert.deepEqual([result.outcome, isStaged], ['done', true], result.failure?.message);
  });

  for (const [what, back] of [
    ['another release than the one that runs', () => releaseOf(cluster.releases['0b1'])],
    ['the same version with another digest', () => ({ version: '0a1', digest: 'd'.repeat(64) })],
  ] as const) {
    test(`is refused when the plan believes in ${what}, and nothing is staged`, async (t) => {
      const checked = await CheckedNode.start(t, cluster);
      const { version } = back();
      const { result, isStaged } = await stage(checked, { back: back() });
      assert.deepEqual([result.outcome, result.failedStep, isStaged], ['failed', 'stage', false]);
      assert.deepEqual(result.failure, {
        code: 'NODE_CHANGED',
        message: `node-1 does not run ${version} any more; plan again`,
      });
    });
  }

  test('is refused when a file of it was changed by hand, and is replaced by a new copy of the same', async (t) => {
    const checked = await CheckedNode.start(t, cluster);
    await writeFile(checked.node.at(linkTo(old), 'README'), 'patched at night');
    const { result, isStaged } = await stage(checked, { back: releaseOf(old) });
    assert.deepEqual([result.outcome, result.failure?.code, isStaged], ['failed', 'NODE_CHANGED', false]);
    assert.match(
      result.failure?.message ?? '',
      /^release 0a1 on node-1 was changed by hand \(README: .*\); going back to it would not be safe; .*plexictl node confirm.*plexictl node reinstall/,
    );
    const again = checked.stageOrder(old, { back: releaseOf(old), reinstall: true });
    const { result: reinstalled } = await checked.caller.execute(again);
    assert.equal(reinstalled.outcome, 'done', reinstalled.failure?.message);
  });
});
