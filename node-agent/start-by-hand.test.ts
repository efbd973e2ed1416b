/**
 * A restart by hand, through a real agent: after the switch the node says what it waits for, starts
 * nothing by itself, and goes on once a person has started the service; going back needs nobody.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import type { CommandEvent } from '../gen/plexi/v1/node_agent.js';
import { programWords } from '../test/loader.test.part.js';
import { agentConfig } from './agent-node.test.part.js';
import { localAnswers, startInTurn } from './by-hand/local-answers.js';
import { startThroughDoor } from './by-hand/offline.js';
import { rollBack } from './caller.test.part.js';
import { findProcesses, isAlive, liveProcess } from './service/process-table.js';
import { startByHand } from './start-by-hand.js';
import { freePort, TinyNode } from './tiny-node.test.part.js';
import { CheckedNode, clusterWith, linkTo } from './upgrade/checked-node.test.part.js';

const { cluster, old, next } = await clusterWith('0b3');

/** An upgrade to 0b3 that waits for a person. */
async function waiting(
  t: TestContext,
  changes: Parameters<CheckedNode['upgradeOrder']>[2] = {},
  options: Parameters<typeof CheckedNode.start>[2] = {},
) {
  const checked = await CheckedNode.start(t, cluster, options);
  await checked.caller.execute(checked.stageOrder(next));
  const order = checked.upgradeOrder(old, next, { restartByHand: true, ...changes });
  const waits = new Set<string>();
  let isWaiting: () => void = () => undefined;
  const begun = new Promise<void>((resolve) => {
    isWaiting = resolve;
  });
  const take = ({ event }: CommandEvent): void => {
    if (event?.$case !== 'progress' || event.value.waitsFor === '') return;
    waits.add(event.value.waitsFor);
    isWaiting();
  };
  const ended = checked.caller.execute(order, take);
  await Promise.race([begun, ended]);
  return { checked, order, waits, ended };
}

describe('a restart by hand', () => {
  test('waits after the switch, and goes on when the service was started', async (t) => {
    const { checked, waits, ended } = await waiting(t);
    const { node } = checked;
    assert.deepEqual([...waits], ['start the service on node-1: plexi-node-agent start --config FILE']);
    assert.equal((await node.links()).current, linkTo(next));
    assert.equal(await node.serviceVersion(), undefined);
    const somebodyElse = (process.geteuid?.() ?? 0) + 1;
    await assert.rejects(startByHand(node.config, somebodyElse), {
      code: 'USAGE',
      message: new RegExp(`as the user of its agent: sudo -u '#${somebodyElse - 1}' plexi-node-agent start`),
    });
    assert.equal(await node.serviceVersion(), undefined, 'nothing was started');
    assert.equal((await startByHand(node.config)).version, '0b3');
    const pid = node.servicePid();
    await assert.rejects(startByHand(node.config), { code: 'CONFLICT' });
    const { result } = await ended;
    assert.equal(result.outcome, 'done', result.failure?.message);
    assert.equal(node.servicePid(), pid);
    assert.equal(await node.serviceVersion(), '0b3');
    await assert.rejects(startByHand(node.config), {
      code: 'CONFLICT',
      message: /does not wait for a start: the agent keeps/,
    });
  });

  test('of two starts that come at once only one starts, beside the agent and without it', async (t) => {
    for (const agent of ['runs', 'does not run']) {
      const { checked, ended } = await waiting(t);
      const { node } = checked;
      ended.catch(() => undefined);
      if (agent !== 'runs') await checked.stop();
      const said = await Promise.allSettled([startThroughDoor(node.config), startThroughDoor(node.config)]);
      const refused = said.flatMap((one) => (one.status === 'rejected' ? [one.reason] : []));
      // Whoever comes while the other one has the door meets it busy, or its service running.
      assert.match(refused.map(({ code }) => code).join(), /^(CONFLICT|BUSY)$/, agent);
      const all = await findProcesses({
        groups: new Set(),
        environmentText: `PLEXI_ROOT=${node.config.root}\0`,
      });
      assert.deepEqual(
        all.map(({ pid }) => pid),
        [node.servicePid()],
        agent,
      );
      if (agent === 'runs') assert.equal((await ended).result.outcome, 'done');
    }
  });

  test('of several services starts those that do not run, beside the agent and without it', async (t) => {
    for (const agent of ['runs', 'does not run']) {
      const port = await freePort();
      const isUp = join(cluster.folder, `db-${port}`);
      const db = { name: 'db', adapter: 'command', env: {}, logFile: undefined } as const;
      const web = { name: 'service', adapter: 'process', start: undefined } as const;
      const url = `http://127.0.0.1:${port}/health`;
      const { checked, ended } = await waiting(
        t,
        {},
        {
          services: [
            { ...db, start: ['touch', isUp], stop: ['rm', '-f', isUp], status: ['test', '-e', isUp] },
            { ...web, env: { PORT: String(port) } },
          ],
          probes: [{ kind: 'http', url, status: 200, versionField: 'version' }],
        },
      );
      ended.catch(() => undefined);
      if (agent !== 'runs') await checked.stop();
      await writeFile(isUp, '');
      assert.equal((await startThroughDoor(checked.node.config)).version, '0b3', agent);
      assert.notEqual(liveProcess(checked.node.servicePid()), undefined);
      if (agent === 'runs') assert.equal((await ended).result.outcome, 'done');
    }
  });

  test('is not begun beside a command that the agent is letting in', async () => {
    const asked: string[] = [];
    const answers = localAnswers('node-1');
    await assert.rejects(answers.answer({ word: 'start' }), { code: 'BUSY' });
    const exclusively = async <T>(work: () => Promise<T>): Promise<T> => {
      asked.push('the critical section');
      return work();
    };
    const nobody = { config: agentConfig('/nowhere') };
    const executor = { startByHand: async () => void asked.push('the job that waits') };
    const nothing = startInTurn({ node: nobody, commands: { exclusively }, executor });
    await assert.rejects(nothing, { code: 'NOT_FOUND', message: /no release/ });
    const node = await TinyNode.create(cluster);
    await startInTurn({ node, commands: { exclusively }, executor });
    assert.deepEqual(asked, ['the critical section', 'the job that waits']);
    await node.remove();
  });

  test('starts nothing by itself after restarts of the agent, waits on, and takes a start by another program', async (t) => {
    const { checked, order, ended } = await waiting(t);
    const { node } = checked;
    ended.catch(() => undefined);
    for (let restarts = 0; restarts < 3; restarts++) await checked.restart();
    const again = checked.caller.executeUntil(order, 'applying');
    const attached = await again;
    assert.equal(await node.serviceVersion(), undefined);
    const { config } = node;
    const file = node.at('config', 'node-agent.yml');
    const [service] = config.services;
    const written = {
      ...{ cluster: 'test', node: 'node-1', root: config.root, listen: '127.0.0.1:1' },
      ...{ controllers: config.controllers, tls: config.tls, repository: config.repository },
      service: { adapter: 'process', env: service?.env },
      probes: [{ kind: 'tcp', address: `127.0.0.1:${node.port}` }],
    };
    await writeFile(file, JSON.stringify(written));
    const main = programWords(new URL('main.ts', import.meta.url));
    const words = [...main, 'start', '--config', file];
    const { stdout } = await promisify(execFile)(process.execPath, words, { timeout: 60_000 });
    assert.equal(stdout, 'node-1: 0b3 was started; the upgrade goes on once it is healthy\n');
    const { result } = await attached.ended;
    assert.equal(result.outcome, 'done', result.failure?.message);
    assert.equal(await node.serviceVersion(), '0b3');
  });

  test('that is taken back starts the old version without waiting', async (t) => {
    const { checked, order, ended } = await waiting(t);
    const { node, caller } = checked;
    await caller.execute(rollBack('back', [1, 5, 90], order.commandId));
    const { result } = await ended;
    assert.equal(result.outcome, 'rolled_back');
    assert.equal(result.failedStep, 'await_start');
    assert.equal(await node.serviceVersion(), '0a1');
  });

  test('that is taken back after the start ends what the person has started', async (t) => {
    const probe = { goodInARow: 4, spacingMs: 200n, intervalMaxMs: 50n, tryMs: 2_000n };
    const { checked, order, ended } = await waiting(t, { probe });
    const { node, caller } = checked;
    await startByHand(node.config);
    const started = liveProcess(node.servicePid());
    assert.ok(started);
    await caller.statusWhen(({ phase }) => phase === 'probing');
    await caller.execute(rollBack('back', [1, 5, 90], order.commandId));
    const { result } = await ended;
    assert.equal(result.outcome, 'rolled_back');
    assert.equal(result.failedStep, 'probe');
    assert.equal(isAlive(started), false);
    assert.equal(await node.serviceVersion(), '0a1');
  });
});
