/**
 * What `restore` looks for before it changes anything: a migration that an agent has left running is ended,
 * a service that was taken over and has lost its record is told, a reason that no record can hold is refused.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { after, before, describe, type TestContext, test } from 'node:test';
import { limits } from '../../config/limits.js';
import { environment } from '../agent-node.test.part.js';
import { TinyPlan } from '../caller.test.part.js';
import { RunningNode } from '../running-node.test.part.js';
import { commandMark } from '../service/orphans.js';
import { liveProcess } from '../service/process-table.js';
import { HandStarted, oldData, takeOver } from '../takeover/hand-started.test.part.js';
import { createTinyCluster, type TinyCluster, type TinyNode } from '../tiny-node.test.part.js';
import { firstData } from '../tiny-service.test.part.js';
import { restoreOffline } from './offline.js';

const together = { concurrency: 2 };
const said = { by: 'ada', reason: 'the disk was damaged' };

let cluster: TinyCluster;
before(async () => {
  cluster = await createTinyCluster();
});
after(() => rm(cluster.folder, { recursive: true, force: true }));

function restore(node: TinyNode, order: { backupId?: string; directory?: string; reason?: string } = {}) {
  const { backupId, directory, reason = said.reason } = order;
  return restoreOffline(node.config, environment, { ...said, backupId, directory, reason }, () => 'new');
}

/** A migration of this root that goes on without its agent, and writes into the data. */
async function leftRunning(t: TestContext, node: TinyNode): Promise<number> {
  const script = 'echo begun; while :; do echo half > "$1"; sleep 0.02; done';
  const child = spawn('sh', ['-c', script, 'left', node.at('data', 'notes.json')], {
    env: { ...process.env, ...commandMark(node.config.root), PLEXI_ROOT: node.config.root },
    detached: true,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const { pid = 0 } = child;
  t.after(() => {
    if (liveProcess(pid) !== undefined) process.kill(-pid, 'SIGKILL');
  });
  await once(child.stdout, 'data');
  return pid;
}

describe('a migration that outlived its agent', together, () => {
  for (const damaged of ['journal', 'service'] as const)
    test(`is ended before a backup is put back, beside an unreadable ${damaged} too`, async (t) => {
      const running = await RunningNode.start(t, cluster);
      const { node } = running;
      const plan = new TinyPlan(cluster.releases, '0a1', '0b1');
      await running.caller.execute(plan.stage('s', [1, 5, 1]));
      const { result } = await running.caller.execute(plan.upgrade('u', [1, 5, 2]));
      assert.equal(result.outcome, 'done', result.failure?.message);
      const service = node.servicePid();
      await running.stop();
      const pid = await leftRunning(t, node);
      if (damaged === 'journal') {
        const last = Object.keys(await node.journal()).at(-1) ?? '';
        await truncate(node.at('agent', 'journal', last), 10);
      } else {
        process.kill(service, 'SIGKILL');
        await writeFile(node.at('run', 'service.json'), '{');
      }
      const { outcome } = await restore(node, { backupId: result.backupId, directory: 'backups' });
      assert.equal(outcome, 'done');
      assert.equal(liveProcess(pid), undefined, 'it does not write under the restored data');
      assert.equal(await readFile(node.at('data', 'notes.json'), 'utf8'), firstData);
      assert.match((await node.links()).current ?? '', /^releases\/0a1-/);
      assert.ok(liveProcess(node.servicePid()));
    });
});

describe('a service that was taken over and has lost its record', together, () => {
  const traces = {
    'where the probes ask': { probes: true, journal: false, record: false },
    'the folder in the journal': { probes: false, journal: true, record: false },
    'the process in what is left of the record': { probes: false, journal: false, record: true },
  };
  for (const [how, left] of Object.entries(traces))
    test(`must be stopped by hand first, when all that tells of it is ${how}`, async (t) => {
      const changes = left.probes ? {} : { probes: [{ kind: 'command' as const, argv: ['true'] }] };
      const running = await RunningNode.start(t, cluster, { version: 'none', ...changes });
      const { node } = running;
      await oldData(node);
      const service = await HandStarted.start(t, cluster, node);
      const { directory } = service;
      const { result } = await running.caller.execute(takeOver('t', [1, 5, 1], { directory }));
      assert.equal(result.outcome, 'done', result.failure?.message);
      await running.stop();
      const file = node.at('run', 'service.json');
      const whole = await readFile(file, 'utf8');
      const damaged = left.record ? whole.slice(0, whole.indexOf('"adopted"')) : '{';
      if (!left.journal) {
        const last = Object.keys(await node.journal()).at(-1) ?? '';
        await truncate(node.at('agent', 'journal', last), 10);
      }
      await writeFile(file, damaged);
      await assert.rejects(restore(node), {
        code: 'STOP_FAILED',
        message: new RegExp(`\\(pid (\\d+, )*${service.pid}\\b.*stop it by hand`),
      });
      assert.equal(await readFile(file, 'utf8'), damaged, 'a refusal touches nothing');
      assert.equal(service.lives, true);
      await service.end();
      assert.equal((await restore(node)).outcome, 'done');
    });
});

test('a reason that no journal record holds is refused before anything is set aside', async (t) => {
  const running = await RunningNode.start(t, cluster);
  const { node } = running;
  await running.stop();
  await writeFile(node.at('agent', 'fence.json'), '{');
  const journal = await node.journal();
  for (const reason of ['x'.repeat(limits.reasonChars + 1), ''])
    await assert.rejects(restore(node, { reason }), { code: 'USAGE', message: /reason/ });
  assert.equal(await readFile(node.at('agent', 'fence.json'), 'utf8'), '{');
  assert.deepEqual(await node.journal(), journal);
  assert.equal((await restore(node, { reason: 'x'.repeat(limits.reasonChars) })).outcome, 'done');
});
