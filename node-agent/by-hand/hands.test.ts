/**
 * Words on the node itself, over real nodes: rollback and maintenance off, said to a running agent through
 * its door and to a node whose agent is down; each is refused where it would do harm, stands in the journal,
 * and is told at the next Adopt.
 */
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { Command } from '../../gen/plexi/v1/node_agent.js';
import { openNode } from '../agent.js';
import { environment } from '../agent-node.test.part.js';
import { maintenance, TinyPlan } from '../caller.test.part.js';
import { Journal } from '../journal/journal.js';
import { RunningNode } from '../running-node.test.part.js';
import { journalDisk } from '../state-disk.js';
import type { TinyNode } from '../tiny-node.test.part.js';
import { firstData } from '../tiny-service.test.part.js';
import { buildChecked, CheckedNode, clusterWith, linkTo } from '../upgrade/checked-node.test.part.js';
import { askAt, doorOf } from './door.js';
import { whyWait } from './may-start.js';
import { obeyOffline, statusOffline } from './offline.js';
import { statusText } from './render.js';
import { type ByHandRequest, byHandOutcome, nodeDocument, parseAnswer } from './requests.js';

const together = { concurrency: 2 };
const said = { by: 'ada', reason: 'no controller is left' };
const rollback = { word: 'rollback', forceAfterCommit: false, ...said } as const;
const forced = { ...rollback, forceAfterCommit: true };
const maintenanceOff = { word: 'maintenance_off', ...said } as const;

const { cluster, old, next } = await clusterWith('0b3');

async function ask(node: TinyNode, request: ByHandRequest): Promise<unknown> {
  const asked = await askAt(doorOf(node.at('run')), request);
  assert.ok(asked, 'the agent answers');
  return asked.answer;
}

async function say(node: TinyNode, request: ByHandRequest) {
  return parseAnswer(await ask(node, request), byHandOutcome);
}

async function statusOf(node: TinyNode) {
  return parseAnswer(await ask(node, { word: 'status' }), nodeDocument);
}

describe('rollback on the node', together, () => {
  test('takes a running upgrade back, and the controller is told by whom', async (t) => {
    const running = await RunningNode.start(t, cluster);
    const { node } = running;
    const plan = new TinyPlan(cluster.releases, '0a1', '0b1');
    await running.caller.execute(plan.stage('s', [1, 5, 1]));
    await node.mark('hold-migration');
    const { ended } = await running.caller.executeUntil(plan.upgrade('u', [1, 5, 2]), 'migrating');
    const status = await statusOf(node);
    assert.equal(status.job?.state, 'open');
    assert.match(status.next ?? '', /^plexi-node-agent rollback/);
    const outcome = say(node, rollback);
    await node.unmark('hold-migration');
    assert.equal((await outcome).outcome, 'rolled_back');
    const { result } = await ended;
    assert.equal(result.failure?.code, 'CANCELLED');
    assert.match(result.failure?.message ?? '', /taken back on the node by ada: no controller is left/);
    const { jobs } = await running.caller.adopt([1, 6, 1]);
    assert.match(jobs.at(-1)?.result?.failure?.message ?? '', /by ada/);
    assert.deepEqual([jobs.at(-1)?.by, jobs.at(-1)?.reason], ['ada', 'no controller is left']);
    assert.equal(await readFile(node.at('data', 'notes.json'), 'utf8'), firstData);
    assert.equal(await node.serviceVersion(), '0a1');
    assert.deepEqual(node.isInMaintenance(), { record: false, hook: false });
  });

  test('takes back what an agent that is down has left open', async (t) => {
    const running = await RunningNode.start(t, cluster);
    const { node } = running;
    const plan = new TinyPlan(cluster.releases, '0a1', '0b1');
    await running.caller.execute(plan.stage('s', [1, 5, 1]));
    // The intent and one step, as a killed agent leaves them.
    await running.caller.execute(maintenance('on', [1, 5, 2], true));
    await running.caller.execute(maintenance('off', [1, 5, 3], false));
    await running.stop();
    await leaveOpen(node, plan);
    const before = await statusOffline(node.config);
    assert.deepEqual([before.agentRuns, before.job?.state, before.job?.step], [false, 'open', 'stop']);
    const outcome = await obeyOffline(node.config, environment, rollback);
    assert.equal(outcome.outcome, 'rolled_back');
    assert.match(outcome.failure?.message ?? '', /by ada/);
    assert.equal(await node.serviceVersion(), '0a1');
    await assert.rejects(obeyOffline(node.config, environment, rollback), { code: 'NOT_FOUND' });
    await running.restart();
    assert.equal((await running.caller.describe()).needsOperator, undefined);
  });

  test('of a committed one needs --force-after-commit, and then switches to the release before', async (t) => {
    const checked = await CheckedNode.start(t, cluster);
    const { node } = checked;
    const { result } = await checked.stageAndUpgrade(old, next);
    assert.equal(result.outcome, 'done', result.failure?.message);
    await assert.rejects(say(node, rollback), { code: 'CONFLICT', message: /--force-after-commit/ });
    assert.equal((await node.links()).current, linkTo(next));
    assert.equal((await say(node, forced)).outcome, 'done');
    assert.deepEqual(await node.links(), { current: linkTo(old), previous: linkTo(next), trial: undefined });
    await checked.caller.statusWhen(
      ({ health, release }) => health === 'healthy' && release?.version === '0a1',
    );
    const { jobs } = await checked.caller.adopt([1, 6, 1]);
    assert.match(jobs.at(-1)?.commandId ?? '', /^by-hand-rollback-/);
    assert.equal(jobs.at(-1)?.result?.outcome, 'done');
  });

  test('of a committed one is refused before anything stops, when the release before was changed', async (t) => {
    const checked = await CheckedNode.start(t, cluster);
    const { node } = checked;
    assert.equal((await checked.stageAndUpgrade(old, next)).result.outcome, 'done');
    const pid = node.servicePid();
    const journal = await node.journal();
    await writeFile(node.at(linkTo(old), 'server.mjs'), 'damaged');
    await assert.rejects(say(node, forced), {
      code: 'CONFLICT',
      message:
        /^release 0a1 on node-1 is not what its manifest says any more \(server\.mjs.*put that file right/,
    });
    assert.deepEqual(await node.journal(), journal);
    assert.equal(node.servicePid(), pid);
    // The release is staged anew beside itself: that copy is whole.
    assert.equal(
      (await checked.caller.execute(checked.stageOrder(old, { reinstall: true }))).result.outcome,
      'done',
    );
    assert.equal((await say(node, forced)).outcome, 'done');
    assert.deepEqual(await node.links(), {
      current: `${linkTo(old)}-2`,
      previous: linkTo(next),
      trial: undefined,
    });
    assert.equal(await node.serviceVersion(), '0a1');
  });

  test('is done only when the release that it went back to is healthy', async (t) => {
    const server = await readFile(join(cluster.folder, 'source', '0a1', 'server.mjs'), 'utf8');
    const dies = `import { existsSync } from 'node:fs';
if (existsSync(process.env.PLEXI_ROOT + '/run/dies')) setTimeout(() => process.exit(1), 300);
else await import('./real.mjs');
`;
    const frail = await buildChecked(cluster, '0b4', { files: { 'server.mjs': dies, 'real.mjs': server } });
    const checked = await CheckedNode.start(t, cluster);
    const { node } = checked;
    for (const [from, to] of [
      [old, frail],
      [frail, next],
    ] as const)
      assert.equal((await checked.stageAndUpgrade(from, to)).result.outcome, 'done');
    await writeFile(node.at('run', 'dies'), '');
    const { outcome, failure, release } = await say(node, forced);
    assert.deepEqual([outcome, failure?.code, release.version], ['rollback_failed', 'PROBE_FAILED', '0b4']);
    assert.match((await statusOf(node)).next ?? '', /restore --as-it-is/);
    assert.equal(await whyWait(node.config), undefined, 'data and release belong together');
  });

  test('of a committed one with a migration says which backup takes both back', async (t) => {
    const running = await RunningNode.start(t, cluster);
    const plan = new TinyPlan(cluster.releases, '0a1', '0b1');
    await running.caller.execute(plan.stage('s', [1, 5, 1]));
    const { result } = await running.caller.execute(plan.upgrade('u', [1, 5, 2]));
    assert.equal(result.outcome, 'done', result.failure?.message);
    const journal = await running.node.journal();
    await assert.rejects(say(running.node, forced), {
      code: 'CONFLICT',
      message: new RegExp(`was migrated \\(.*\\).* plexi-node-agent restore --backup ${result.backupId} `),
    });
    assert.deepEqual(await running.node.journal(), journal);
    assert.equal(await running.node.serviceVersion(), '0b1');
  });

  test('of a node without anything to go back to is refused', async (t) => {
    const running = await RunningNode.start(t, cluster);
    await assert.rejects(say(running.node, forced), { code: 'NOT_FOUND', message: /nothing was changed/ });
  });
});

describe('maintenance off on the node', together, () => {
  test('ends maintenance that a controller began; it is journaled, and told at Adopt', async (t) => {
    const running = await RunningNode.start(t, cluster);
    const { node } = running;
    await assert.rejects(say(node, maintenanceOff), { code: 'CONFLICT', message: /not in maintenance/ });
    await running.caller.execute(maintenance('on', [1, 5, 1], true, 'new disks'));
    const status = await statusOf(node);
    assert.equal(status.maintenance?.reason, 'new disks');
    assert.match(status.next ?? '', /maintenance off/);
    const { outcome, inMaintenance } = await say(node, maintenanceOff);
    assert.deepEqual([outcome, inMaintenance], ['done', false]);
    assert.deepEqual(node.isInMaintenance(), { record: false, hook: false });
    const records = Object.values(await node.journal()).map((text) => JSON.parse(text));
    assert.deepEqual(
      records.slice(-2).map(({ kind, by, reason }) => ({ kind, by, reason })),
      [
        { kind: 'by_hand', ...said },
        { kind: 'finished', by: undefined, reason: undefined },
      ],
    );
    const { jobs } = await running.caller.adopt([1, 6, 1]);
    assert.match(jobs.at(-1)?.commandId ?? '', /^by-hand-maintenance-off-/);
    assert.deepEqual(
      jobs.map(({ by, reason }) => [by, reason]),
      [
        ['', ''],
        ['ada', 'no controller is left'],
      ],
    );
    await running.restart();
    assert.equal((await statusOf(node)).needsOperator, null, 'its record is read back');
  });

  test('works while the agent is down, and not beside an open job', async (t) => {
    const running = await RunningNode.start(t, cluster);
    const { node } = running;
    await running.caller.execute(maintenance('on', [1, 5, 1], true));
    await running.stop();
    assert.match(statusText(await statusOffline(node.config)), /^maintenance: +new disks \(since 2/m);
    assert.equal((await obeyOffline(node.config, environment, maintenanceOff)).outcome, 'done');
    assert.deepEqual(node.isInMaintenance(), { record: false, hook: false });
    await leaveOpen(node, new TinyPlan(cluster.releases, '0a1', '0b1'));
    await assert.rejects(obeyOffline(node.config, environment, maintenanceOff), {
      code: 'CONFLICT',
      message: /is under way on node-1/,
    });
    await obeyOffline(node.config, environment, rollback);
  });

  test('whose hook fails leaves the node out, and asks for nobody', async (t) => {
    const running = await RunningNode.start(t, cluster, {
      maintenance: { enter: undefined, leave: ['false'] },
    });
    await running.caller.execute(maintenance('on', [1, 5, 1], true));
    const { outcome, failure, inMaintenance } = await say(running.node, maintenanceOff);
    assert.deepEqual([outcome, failure?.code, inMaintenance], ['failed', 'HOOK_FAILED', true]);
    assert.equal((await statusOf(running.node)).needsOperator, null);
  });
});

/** A job that an agent began and left at its second step: the service is down, nothing has changed. */
async function leaveOpen(node: TinyNode, plan: TinyPlan): Promise<void> {
  const opened = await openNode(node.config, environment);
  const journal = await Journal.open(journalDisk(node.at('agent', 'journal')), () => new Date());
  const { commandId } = plan.upgrade('left', [1, 5, 9]);
  const current = (await node.links()).current?.replace('releases/', '') ?? null;
  await journal.append({
    kind: 'accepted',
    commandId,
    command: Object(Command.toJSON(plan.upgrade('left', [1, 5, 9]))),
    payloadHash: '',
    token: { epoch: '1', term: '5', seq: '9' },
    step: 'enter_maintenance',
    facts: {
      wasInMaintenance: false,
      folderBefore: current,
      previousBefore: null,
      folderAfter: null,
      backupId: 'left',
    },
  });
  await opened.maintenance.enter({
    reason: 'left',
    since: '',
    withHooks: false,
    runHook: () => Promise.reject(new Error('no hook is run')),
  });
  await journal.append({
    kind: 'step',
    commandId,
    done: 'enter_maintenance',
    step: 'stop',
    committed: false,
  });
  await opened.service.stop(2_000);
}
