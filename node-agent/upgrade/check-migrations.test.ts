/**
 * Checks of migrations through a real agent: they run in the staged release's folder while the old
 * service runs on, and one that fails ends the staging with nothing touched.
 */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { describe, test } from 'node:test';
import { CheckedNode, clusterWith } from './checked-node.test.part.js';

/** Tells where and as what it runs; fails, or does not end, when a file in run/ says so. */
const check = `
import { existsSync, writeFileSync } from 'node:fs';
const run = process.env.PLEXI_RUN_DIR;
writeFileSync(run + '/checked', process.cwd() === process.env.PLEXI_RELEASE_DIR ? process.env.PLEXI_VERSION : 'elsewhere');
console.log('notes.json is of format 7');
if (existsSync(run + '/fail-migration')) process.exit(4);
if (existsSync(run + '/hold-migration')) setInterval(() => {}, 1_000);
`;

const { cluster, old, next } = await clusterWith('0b3', {
  files: { 'check.mjs': check },
  yaml: `migrations:
  - {id: 001-none, scope: node, up: ["true"], down: ["true"], timeout_seconds: 5}
  - {id: 002-some, scope: node, up: ["true"], down: ["true"], check: [node, check.mjs], timeout_seconds: 1}
`,
});

function steps(direction = 'up', checksum?: string) {
  return next.manifest.migrations.map((it) => ({
    id: it.id,
    checksum: checksum ?? it.checksum,
    direction,
  }));
}

describe('the checks of migrations', () => {
  test('run where the migrations will, and the node stays as it is', async (t) => {
    const checked = await CheckedNode.start(t, cluster);
    const { node, caller } = checked;
    const pid = node.servicePid();
    const { result } = await caller.execute(checked.stageOrder(next, { checkMigrations: steps() }));
    assert.equal(result.outcome, 'done', result.failure?.message);
    assert.equal(await readFile(node.at('run', 'checked'), 'utf8'), '0b3');
    assert.match(
      (await checked.readLog({ source: 'hook', name: '002-some' })).text,
      /check of migration 002-some/,
    );
    assert.equal(node.servicePid(), pid);
    assert.deepEqual(await node.journal(), {});
  });

  test('end the staging when one fails, does not end, or is not the one of the plan', async (t) => {
    const checked = await CheckedNode.start(t, cluster);
    const { node, caller } = checked;
    const refused: [string | undefined, ReturnType<typeof steps>, RegExp][] = [
      [
        'fail-migration',
        steps(),
        /nothing was touched: node ended with exit code 4 .*\(notes\.json is of format 7\)/,
      ],
      ['hold-migration', steps(), /did not end within 1000 ms/],
      [undefined, steps('up', 'f'.repeat(64)), /is not in release 0b3, or differs/],
    ];
    for (const [mark, checkMigrations, message] of refused) {
      if (mark === 'fail-migration' || mark === 'hold-migration') await node.mark(mark);
      const { result } = await caller.execute(checked.stageOrder(next, { checkMigrations }));
      assert.equal(result.outcome, 'failed');
      assert.equal(result.failure?.code, 'MIGRATION_FAILED');
      assert.match(result.failure?.message ?? '', message);
      if (mark !== undefined) await node.unmark(mark);
    }
    assert.equal(await node.serviceVersion(), '0a1');
    assert.deepEqual((await caller.describe()).release, { version: '0a1', digest: old.artifact.treeDigest });
  });

  test('do not run on the way down, nor when nobody asks for them', async (t) => {
    const checked = await CheckedNode.start(t, cluster);
    const { node, caller } = checked;
    await node.mark('fail-migration');
    for (const checkMigrations of [[], steps('down')]) {
      const { result } = await caller.execute(checked.stageOrder(next, { checkMigrations }));
      assert.equal(result.outcome, 'done', result.failure?.message);
    }
  });
});
