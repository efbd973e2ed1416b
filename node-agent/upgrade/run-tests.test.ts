/**
 * Through a real agent: a restart of what runs, and the release's own tests before the commit. A node
 * goes back when a test fails, when the service printed what a test forbids, or when it died.
 */
import assert from 'node:assert/strict';
import { appendFile, readFile, rm } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';
import type { BuiltRelease } from '../../release/repository/publish.js';
import { createTinyCluster, type TinyCluster } from '../tiny-node.test.part.js';
import { buildChecked, CheckedNode, linkTo } from './checked-node.test.part.js';

let cluster: TinyCluster;
let old: BuiltRelease;
before(async () => {
  cluster = await createTinyCluster();
  old = cluster.releases['0a1'];
});
after(() => rm(cluster.folder, { recursive: true, force: true }));

function tests(...lines: string[]): string {
  return `tests:\n${lines.map((line) => `  - {${line}, timeout_seconds: 5}\n`).join('')}`;
}

const inService = { record: false, hook: false };

describe('a restart', () => {
  test('gives a new process of the same release, and `previous` still names what ran before it', async (t) => {
    const good = await buildChecked(cluster, '0b3', {});
    const { node, caller, ...checked } = await start(t);
    await checked.upgrade(old, good);
    const links = await node.links();
    assert.equal(links.previous, linkTo(old));
    const pid = node.servicePid();
    const { result, phases } = await caller.execute(checked.order(good, good));
    assert.equal(result.outcome, 'done', result.failure?.message);
    assert.equal(result.backupId, '');
    assert.ok(!phases.includes('backing_up'));
    assert.notEqual(node.servicePid(), pid);
    assert.equal(await node.serviceVersion(), '0b3');
    assert.deepEqual(await node.links(), links);
    assert.deepEqual(node.isInMaintenance(), inService);
  });

  test('that fails starts the release again, with all links as they were', async (t) => {
    const flaky = await buildChecked(cluster, '0b4', {
      yaml: tests('name: marker, command: [sh, -c, "! [ -e $PLEXI_RUN_DIR/fail-migration ]"]'),
    });
    const { node, caller, ...checked } = await start(t);
    await checked.upgrade(old, flaky);
    const links = await node.links();
    const pid = node.servicePid();
    await node.mark('fail-migration');
    const { result } = await caller.execute(checked.order(flaky, flaky));
    assert.equal(result.outcome, 'rolled_back');
    assert.equal(result.failedStep, 'test');
    assert.notEqual(node.servicePid(), pid);
    assert.equal(await node.serviceVersion(), '0b4');
    assert.deepEqual(await node.links(), links);
    assert.deepEqual(node.isInMaintenance(), inService);
  });
});

describe("a release's tests", () => {
  test('run in its folder with its environment before the commit; without an order they do not run', async (t) => {
    const trace = 'echo "$PLEXI_VERSION $(cat release.json | wc -l)" >> $PLEXI_RUN_DIR/tested';
    const good = await buildChecked(cluster, '0b5', {
      yaml: tests(`name: trace, command: [sh, -c, '${trace}'], must_not_log: panic`),
    });
    const { node, caller, ...checked } = await start(t);
    const { result, phases } = await checked.upgrade(old, good);
    assert.equal(result.outcome, 'done', result.failure?.message);
    assert.deepEqual(phases.slice(-4), ['applying', 'probing', 'committing', 'leaving_maintenance']);
    assert.ok(result.timings.some(({ step }) => step === 'test'));
    await caller.execute(checked.order(good, good, { tests: false }));
    assert.equal(await readFile(node.at('run', 'tested'), 'utf8'), '0b5 0\n');
  });

  test('that fail take the node back, with the name and the last line', async (t) => {
    const bad = await buildChecked(cluster, '0b6', {
      yaml: tests(
        'name: fine, command: ["true"]',
        'name: smoke, command: [sh, -c, "echo first; echo no answer; exit 3"]',
      ),
    });
    const { node, ...checked } = await start(t);
    const { result } = await checked.upgrade(old, bad);
    assert.equal(result.outcome, 'rolled_back');
    assert.equal(result.failedStep, 'test');
    assert.equal(result.failure?.code, 'TEST_FAILED');
    assert.match(
      result.failure?.message ?? '',
      /^test smoke of 0b6 on node-1 failed: sh ended with exit code 3 after \d+ ms \(no answer\)$/,
    );
    assert.equal(await node.serviceVersion(), '0a1');
    assert.deepEqual(node.isInMaintenance(), inService);
  });

  test('take a text literally, and forbid it only in what was printed since the start', async (t) => {
    const yaml = tests('name: quiet, command: ["true"], must_not_log: "panic.*"');
    const quiet = await buildChecked(cluster, '0b7', { yaml, prints: 'panic: none' });
    const loud = await buildChecked(cluster, '0b8', { yaml, prints: 'a panic.* it is' });
    const { node, ...checked } = await start(t);
    await appendFile(node.at('run', 'service.log'), 'an old panic.* of before\n');
    const fine = await checked.upgrade(old, quiet);
    assert.equal(fine.result.outcome, 'done', fine.result.failure?.message);
    const { result } = await checked.upgrade(quiet, loud);
    assert.equal(result.outcome, 'rolled_back');
    assert.match(result.failure?.message ?? '', /the service printed "panic\.\*", which this test forbids/);
    assert.equal(await node.serviceVersion(), '0b7');
  });

  test('that forbid a text do not pass without the log', async (t) => {
    const bad = await buildChecked(cluster, '0b9', {
      yaml: tests('name: eater, command: [sh, -c, "rm $PLEXI_RUN_DIR/service.log"], must_not_log: panic'),
    });
    const checked = await start(t);
    const { result } = await checked.upgrade(old, bad);
    assert.equal(result.failure?.code, 'TEST_FAILED');
    assert.match(result.failure?.message ?? '', /service\.log is missing/);
  });

  test('do not pass when the service died meanwhile', async (t) => {
    const bad = await buildChecked(cluster, '0b10', {
      yaml: tests(`name: killer, command: [node, kill.mjs]`),
      files: {
        'kill.mjs': `
import { existsSync, readFileSync } from 'node:fs';
const { pid } = JSON.parse(readFileSync(process.env.PLEXI_RUN_DIR + '/service.json', 'utf8')).process;
process.kill(pid, 'SIGKILL');
const isDead = () => !existsSync('/proc/' + pid) || / [ZX] /.test(readFileSync('/proc/' + pid + '/stat', 'utf8'));
while (!isDead()) await new Promise((next) => setTimeout(next, 5));
`,
      },
    });
    const { node, ...checked } = await start(t);
    const { result } = await checked.upgrade(old, bad);
    assert.equal(result.failure?.code, 'TEST_FAILED');
    assert.match(result.failure?.message ?? '', /the service does not run any more \(signal SIGKILL\)/);
    assert.equal(await node.serviceVersion(), '0a1');
  });
});

async function start(t: Parameters<typeof CheckedNode.start>[0]) {
  const checked = await CheckedNode.start(t, cluster);
  return {
    node: checked.node,
    caller: checked.caller,
    upgrade: checked.stageAndUpgrade.bind(checked),
    order: checked.upgradeOrder.bind(checked),
  };
}
