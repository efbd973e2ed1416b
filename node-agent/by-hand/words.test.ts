/**
 * The words as programs, on a node whose agent is a program of its own: what they print, their exit codes, and
 * `may-start` for the unit of the service, at the moments at which an init system may ask.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { chmod, copyFile, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { after, before, describe, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';
import { maintenance, TinyPlan } from '../caller.test.part.js';
import { RunningNode } from '../running-node.test.part.js';
import { createTinyCluster, type TinyCluster, type TinyNode } from '../tiny-node.test.part.js';

/** The built program, as an operator runs it; `npm test` builds before it tests. */
const main = fileURLToPath(new URL('../../bin/plexi-node-agent', import.meta.url));
const together = { concurrency: 2 };

let cluster: TinyCluster;
before(async () => {
  cluster = await createTinyCluster();
});
after(() => rm(cluster.folder, { recursive: true, force: true }));

/** A node with its agent in this process, and its configuration as a file. */
async function withFile(t: TestContext) {
  const running = await RunningNode.start(t, cluster);
  const { root, tls, repository, services, probes, maintenance: hooks } = running.node.config;
  const [probe] = probes;
  assert.ok(probe?.kind === 'http');
  const config = {
    ...{ cluster: 'test', node: 'node-1', root, listen: '127.0.0.1:1', tls, repository },
    controllers: ['127.0.0.1:1'],
    service: { adapter: 'process', env: services[0]?.env },
    probes: [{ kind: 'http', url: probe.url, version_field: 'version' }],
    maintenance: hooks,
    log: { level: 'silent' },
  };
  await writeFile(running.node.at('node-agent.yml'), stringify(config, { lineWidth: 0 }));
  return { running, node: running.node };
}

function run(node: TinyNode, ...words: string[]) {
  return runAs(process.geteuid?.(), node, ...words);
}

function runAs(uid: number | undefined, node: TinyNode, ...words: string[]) {
  const config = words.includes('--config') ? [] : ['--config', node.at('node-agent.yml')];
  const argv = [main, ...words, ...config];
  return new Promise<{ exitCode: number; stdout: string; stderr: string }>((resolve) => {
    const child = execFile(process.execPath, argv, { timeout: 60_000, uid }, (_error, stdout, stderr) =>
      resolve({ exitCode: child.exitCode ?? -1, stdout, stderr }),
    );
  });
}

const free = { exitCode: 0, stdout: '', stderr: '' };

describe('the words on the node', together, () => {
  test('status says the same with and without the agent, as text and as JSON', async (t) => {
    const { running, node } = await withFile(t);
    await running.caller.execute(maintenance('on', [1, 5, 1], true, 'new disks'));
    const texts: string[] = [];
    for (const runs of ['runs', 'does not run']) {
      const { exitCode, stdout, stderr } = await run(node, 'status');
      assert.deepEqual([exitCode, stderr], [0, '']);
      assert.match(stdout, new RegExp(`^agent: +\\S+, ${runs}$`, 'm'));
      texts.push(stdout.replace(/^agent:.*$/m, ''));
      const json = JSON.parse((await run(node, 'status', '-o', 'json')).stdout);
      assert.equal(json.node, 'node-1');
      assert.equal(json.job.commandId, 'on');
      assert.equal(json.fence, '(1, 5, 1)');
      assert.equal(json.next, 'plexi-node-agent maintenance off --reason TEXT');
      await running.stop();
    }
    assert.equal(texts[0], texts[1]);
    assert.match(texts[0] ?? '', /^release: +0a1$/m);
    assert.match(texts[0] ?? '', /^maintenance: +new disks \(since 2\S+\)$/m);
    const off = await run(node, 'maintenance', 'off', '--reason', 'the disks are in');
    assert.deepEqual([off.exitCode, off.stderr], [0, '']);
    assert.equal(off.stdout, 'node-1: maintenance off is done; it has 0a1 and is in service\n');
    const again = await run(node, 'maintenance', 'off', '--reason', 'x');
    assert.equal(again.exitCode, 3);
    assert.match(again.stderr, /is not in maintenance; there is nothing to do/);
  });

  const skip = process.geteuid?.() === 0 ? false : 'only root can run a program as another user';
  test("another user than the agent's is told whose words these are", { skip }, async (t) => {
    const { running, node } = await withFile(t);
    const nobody = 65_534;
    const { ca, cert, key } = node.config.tls;
    for (const file of [ca, cert, key]) await chmod(file, 0o644);
    for (const folder of [cluster.folder, dirname(ca), node.config.root]) await chmod(folder, 0o755);
    for (const agent of ['runs', 'does not run']) {
      const { exitCode, stderr } = await runAs(nobody, node, 'status');
      assert.equal(exitCode, 2, agent);
      assert.match(
        stderr,
        /say status on node-1 as the user of its agent: sudo -u '#0' plexi-node-agent status/,
      );
      await running.stop();
    }
    // Its configuration lies elsewhere, and of the root it sees nothing.
    const elsewhere = join(cluster.folder, 'other-node-agent.yml');
    await copyFile(node.at('node-agent.yml'), elsewhere);
    await chmod(elsewhere, 0o644);
    await chmod(node.config.root, 0o700);
    const hidden = await runAs(nobody, node, 'status', '--config', elsewhere);
    assert.deepEqual([hidden.exitCode, hidden.stdout], [2, '']);
    assert.match(hidden.stderr, /may not look into \S+; say status on node-1 as the user of its agent$/m);
  });

  test('install beside a running agent is refused before it sweeps or takes up anything', async (t) => {
    const { running, node } = await withFile(t);
    const inFlight = node.at('agent', 'journal', '.tmp-in-flight');
    await writeFile(inFlight, 'a record that the agent is about to make');
    const beside = await run(node, 'install', '--version', '0b1');
    assert.equal(beside.exitCode, 3);
    assert.match(
      beside.stderr,
      /^plexi-node-agent: another agent of this root, or a word by hand, is at work/,
    );
    assert.equal(await readFile(inFlight, 'utf8'), 'a record that the agent is about to make');
    assert.equal((await running.caller.describe()).needsOperator, undefined);
    await running.stop();
    const again = await run(node, 'install', '--version', '0b1');
    assert.equal(again.exitCode, 3);
    assert.match(again.stderr, /node-1 runs 0a1-\S+ already/);
    await assert.rejects(readFile(inFlight), { code: 'ENOENT' }, 'without an agent it is a left-over');
  });

  test('a reason is asked for, and restore wants to be told what', async (t) => {
    const { running, node } = await withFile(t);
    for (const words of [['rollback'], ['restore', '--as-it-is'], ['maintenance', 'off']]) {
      const { exitCode, stderr } = await run(node, ...words);
      assert.notEqual(exitCode, 0);
      assert.match(stderr, /--reason/);
    }
    const neither = await run(node, 'restore', '--reason', 'x');
    assert.equal(neither.exitCode, 2);
    assert.match(neither.stderr, /--backup ID, or --as-it-is/);
    const running1 = await run(node, 'restore', '--as-it-is', '--reason', 'x');
    assert.equal(running1.exitCode, 3);
    assert.match(running1.stderr, /another agent of this root/);
    assert.equal((await running.caller.describe()).needsOperator, undefined);
  });

  test('may-start: freely without a job, not inside one, not on a torn journal', async (t) => {
    const { running, node } = await withFile(t);
    assert.deepEqual(await run(node, 'may-start'), free);
    const plan = new TinyPlan(cluster.releases, '0a1', '0b1');
    await running.caller.execute(plan.stage('s', [1, 5, 1]));
    await node.mark('hold-migration');
    const { ended } = await running.caller.executeUntil(plan.upgrade('u', [1, 5, 2]), 'migrating');
    const inside = await run(node, 'may-start');
    assert.equal(inside.exitCode, 1);
    assert.match(inside.stderr, /^plexi-node-agent: node-1: u is at migrate, and the service must be down/);
    await node.unmark('hold-migration');
    assert.equal((await ended).result.outcome, 'done');
    await running.stop();
    assert.deepEqual(await run(node, 'may-start'), free, 'a committed release starts without anybody');
    const last = Object.keys(await node.journal()).at(-1) ?? '';
    await truncate(node.at('agent', 'journal', last), 10);
    const torn = await run(node, 'may-start');
    assert.equal(torn.exitCode, 1);
    assert.match(torn.stderr, new RegExp(`journal record ${last} cannot be trusted`));
    const restored = await run(node, 'restore', '--as-it-is', '--reason', 'a bad sector');
    assert.deepEqual([restored.exitCode, restored.stderr], [0, '']);
    assert.match(restored.stdout, /^node-1: agent\/quarantine\/\d{8}T\d{6}Z-journal was set aside$/m);
    assert.deepEqual(await run(node, 'may-start'), free);
    assert.match(await readFile(node.at('agent', 'journal', '0000000001.json'), 'utf8'), /a bad sector/);
  });
});
