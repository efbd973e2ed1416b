/**
 * `restore` on a real node: data and version from a backup, byte for byte; state that cannot be read goes to
 * the quarantine with every byte, the node holds until then and says the next command, and after it obeys no
 * command before it is adopted; a crash in the middle is taken up by the next agent.
 */
import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, type TestContext, test } from 'node:test';
import { limits } from '../../config/limits.js';
import { openNode } from '../agent.js';
import { environment } from '../agent-node.test.part.js';
import { Fence } from '../api/fence.js';
import { maintenance, TinyPlan } from '../caller.test.part.js';
import { Journal } from '../journal/journal.js';
import { RunningNode } from '../running-node.test.part.js';
import { fenceDisk, journalDisk } from '../state-disk.js';
import { createTinyCluster, type TinyCluster, type TinyNode } from '../tiny-node.test.part.js';
import { firstData } from '../tiny-service.test.part.js';
import { factsOf } from './hands.js';
import { restoreOffline, statusOffline } from './offline.js';
import { setStateAside } from './set-aside.js';
import { unreadableState } from './unreadable.js';

const together = { concurrency: 2 };
const said = { by: 'ada', reason: 'the disk was damaged' };
const newId = () => 'new-installation';

let cluster: TinyCluster;
before(async () => {
  cluster = await createTinyCluster();
});
after(() => rm(cluster.folder, { recursive: true, force: true }));

function restore(node: TinyNode, backupId?: string, directory?: string) {
  return restoreOffline(node.config, environment, { backupId, directory, ...said }, newId);
}

/** A node that was brought from 0a1 to 0b1, with the backup that was made on the way. */
async function upgraded(t: TestContext) {
  const running = await RunningNode.start(t, cluster);
  const plan = new TinyPlan(cluster.releases, '0a1', '0b1');
  await running.caller.execute(plan.stage('s', [1, 5, 1]));
  const { result } = await running.caller.execute(plan.upgrade('u', [1, 5, 2]));
  assert.equal(result.outcome, 'done', result.failure?.message);
  return { running, node: running.node, backupId: result.backupId };
}

async function assertOldAndServing(running: RunningNode): Promise<void> {
  const { node } = running;
  assert.equal(await readFile(node.at('data', 'notes.json'), 'utf8'), firstData);
  assert.match((await node.links()).current ?? '', /^releases\/0a1-/);
  await running.healthy();
  assert.equal(await node.serviceVersion(), '0a1');
  assert.equal((await running.caller.describe()).needsOperator, undefined);
}

describe('restore from a backup', together, () => {
  test('brings data and version back, and is told at the next Adopt', async (t) => {
    const { running, node, backupId } = await upgraded(t);
    await assert.rejects(restore(node, backupId), {
      code: 'CONFLICT',
      message: /another agent of this root/,
    });
    await running.stop();
    for (const [wrong, error] of [
      ['no-such', { code: 'NOT_FOUND', message: /name its folder with --directory/ }],
      ['../x', { code: 'USAGE' }],
    ] as const)
      await assert.rejects(restore(node, wrong), error);
    await assert.rejects(restore(node, backupId, 'elsewhere'), { code: 'NOT_FOUND' });
    assert.equal(await node.serviceVersion(), '0b1', 'a refusal touches nothing');
    const { outcome, setAside } = await restore(node, backupId);
    assert.deepEqual([outcome, setAside], ['done', []]);
    await running.restart();
    await assertOldAndServing(running);
    const { jobs } = await running.caller.adopt([1, 6, 1]);
    assert.match(jobs.at(-1)?.commandId ?? '', /^by-hand-restore-/);
    assert.equal(jobs.at(-1)?.result?.release?.version, '0a1');
  });

  test('that a reinstallation made runs the copy that is whole, and not the one that was damaged', async (t) => {
    const running = await RunningNode.start(t, cluster);
    const { node } = running;
    const plan = new TinyPlan(cluster.releases, '0a1', '0a1');
    const damaged = (await node.links()).current ?? '';
    await writeFile(node.at(damaged, 'server.mjs'), 'damaged');
    const order = plan.stage('s', [1, 5, 1]);
    if (order.step?.$case === 'stage') order.step.value.reinstall = true;
    await running.caller.execute(order);
    const { result } = await running.caller.execute(plan.upgrade('u', [1, 5, 2]));
    assert.equal(result.outcome, 'done', result.failure?.message);
    await writeFile(node.at('data', 'notes.json'), '{"format":1,"notes":["later"]}');
    await running.stop();
    assert.equal((await restore(node, result.backupId)).outcome, 'done');
    assert.equal((await node.links()).current, `${damaged}-2`);
    await running.restart();
    await assertOldAndServing(running);
  });

  test('that was cut off is taken up by the next agent, at every step', async (t) => {
    const { running, node, backupId } = await upgraded(t);
    await running.stop();
    const opened = await openNode(node.config, environment);
    const old = (await readdir(node.at('releases'))).find((name) => /^0a1-[0-9a-f]+$/.test(name));
    const steps = ['stop_by_hand', 'restore_by_hand', 'switch_by_hand', 'start_by_hand', 'probe_by_hand'];
    for (const [at, last] of steps.entries()) {
      const journal = await Journal.open(journalDisk(node.at('agent', 'journal')), () => new Date());
      const facts = await factsOf(opened, { folderAfter: old ?? null, backupId });
      const commandId = `cut-off-at-${last}`;
      const act = { word: 'restore', directory: 'backups' } as const;
      const step = steps[0] ?? '';
      await journal.append({ kind: 'by_hand', commandId, act, ...said, setAside: [], step, facts });
      for (const [index, done] of steps.slice(0, at).entries())
        await journal.append({
          kind: 'step',
          commandId,
          done,
          step: steps[index + 1] ?? '',
          committed: false,
        });
      if (last === 'restore_by_hand') await writeFile(node.at('data', 'notes.json'), 'half');
      await running.restart();
      await running.caller.statusWhen(
        ({ phase, runningCommandId }) => phase === 'idle' && runningCommandId === '',
      );
      const { jobs } = await running.caller.adopt([1, 6 + at, 1]);
      assert.deepEqual([jobs.at(-1)?.commandId, jobs.at(-1)?.result?.outcome], [commandId, 'done']);
      if (last === 'restore_by_hand')
        assert.equal(await readFile(node.at('data', 'notes.json'), 'utf8'), firstData);
      await running.stop();
    }
    await running.restart();
    await assertOldAndServing(running);
  });

  test('that an agent of another version has begun is not begun anew: what was written since stays', async (t) => {
    const { running, node, backupId } = await upgraded(t);
    const pid = node.servicePid();
    await running.stop();
    const opened = await openNode(node.config, environment);
    const old = (await readdir(node.at('releases'))).find((name) => /^0a1-[0-9a-f]+$/.test(name));
    const journal = await Journal.open(journalDisk(node.at('agent', 'journal')), () => new Date());
    await journal.append({
      ...{ kind: 'by_hand', commandId: 'later', act: { word: 'restore', directory: 'backups' }, ...said },
      ...{ setAside: [], step: 'stop_by_hand' },
      facts: await factsOf(opened, { folderAfter: old ?? null, backupId }),
    });
    await journal.append({
      ...{
        kind: 'step',
        commandId: 'later',
        done: 'stop_by_hand',
        step: 'announce_by_hand',
        committed: false,
      },
    });
    const written = '{"format":2,"notes":["a","b","c"]}\n';
    await writeFile(node.at('data', 'notes.json'), written);
    const before = await node.journal();
    await running.restart();
    const { needsOperator } = await running.caller.describe();
    assert.equal(needsOperator?.code, 'JOURNAL_UNREADABLE');
    assert.match(needsOperator?.message ?? '', /a step announce_by_hand that this agent does not know/);
    await assert.rejects(running.caller.execute(maintenance('m', [1, 5, 9], true)), {
      code: 'JOURNAL_UNREADABLE',
    });
    assert.equal(await readFile(node.at('data', 'notes.json'), 'utf8'), written);
    assert.equal(node.servicePid(), pid, 'nothing was stopped');
    assert.deepEqual(await node.journal(), before);
    await running.stop();
    const { outcome } = await restore(node);
    assert.equal(outcome, 'done', 'an operator takes it as it is');
    await running.restart();
    assert.equal((await running.caller.describe()).needsOperator, undefined);
    assert.equal(await readFile(node.at('data', 'notes.json'), 'utf8'), written);
  });

  test('that kills its agent again and again is given up, and the node holds', async (t) => {
    const { running, node, backupId } = await upgraded(t);
    await running.stop();
    const opened = await openNode(node.config, environment);
    const journal = await Journal.open(journalDisk(node.at('agent', 'journal')), () => new Date());
    await journal.append({
      kind: 'by_hand',
      commandId: 'loop',
      act: { word: 'restore', directory: 'backups' },
      ...said,
      setAside: [],
      step: 'stop_by_hand',
      facts: await factsOf(opened, { backupId }),
    });
    for (let times = 0; times < limits.journalRedoOnward; times++)
      await journal.append({ kind: 'resumed', commandId: 'loop', step: 'stop_by_hand' });
    const pid = node.servicePid();
    await running.restart();
    const status = await running.caller.statusWhen(({ needsOperator }) => needsOperator !== undefined);
    assert.match(status.needsOperator?.message ?? '', /in the middle of stop_by_hand again and again/);
    assert.equal(node.servicePid(), pid);
  });
});

describe('state that cannot be read', together, () => {
  const damages: Record<string, { file: string[]; code: string; obeysUntilAdopted: boolean }> = {
    journal: {
      file: ['agent', 'journal', '0000000002.json'],
      code: 'JOURNAL_UNREADABLE',
      obeysUntilAdopted: false,
    },
    fence: { file: ['agent', 'fence.json'], code: 'FENCE_UNREADABLE', obeysUntilAdopted: false },
    maintenance: { file: ['agent', 'maintenance.json'], code: 'STORE_INVALID', obeysUntilAdopted: true },
    service: { file: ['run', 'service.json'], code: 'STOP_FAILED', obeysUntilAdopted: true },
    identity: {
      file: ['agent', 'identity', 'install.json'],
      code: 'CONFIG_INVALID',
      obeysUntilAdopted: true,
    },
  };
  for (const [what, { file, code, obeysUntilAdopted }] of Object.entries(damages)) {
    test(`${what}: the node holds and says what to do; an operator's word moves it to the quarantine`, async (t) => {
      const running = await RunningNode.start(t, cluster);
      const { node } = running;
      await running.caller.adopt([1, 5, 1]);
      await running.caller.execute(maintenance('on', [1, 5, 2], true));
      if (what !== 'maintenance') await running.caller.execute(maintenance('off', [1, 5, 3], false));
      const pid = node.servicePid();
      await running.stop();
      if (what === 'service') process.kill(pid, 'SIGKILL');
      const whole = await readFile(node.at(...file));
      await truncate(node.at(...file), Math.floor(whole.length / 2));
      const damaged = await readFile(node.at(...file));
      const offline = await statusOffline(node.config);
      assert.equal(offline.needsOperator?.code, code);
      assert.match(offline.next ?? '', /^plexi-node-agent restore /);
      await running.restart();
      const { needsOperator } = await running.caller.describe();
      assert.equal(needsOperator?.code, code);
      assert.match(needsOperator?.message ?? '', /plexi-node-agent restore/);
      assert.deepEqual(await readFile(node.at(...file)), damaged, 'nothing is touched without a word');
      await running.stop();
      if (what === 'service') assert.equal(await node.serviceVersion(), undefined, 'it was not started');

      const { outcome, setAside, inMaintenance } = await restore(node);
      assert.equal(outcome, 'done');
      assert.equal(setAside.length, 1, `only what cannot be read: ${setAside.join(', ')}`);
      assert.equal(inMaintenance, what === 'maintenance', 'out of service it stays out');
      const kept = await bytesIn(node.at('agent', 'quarantine'));
      assert.ok(
        kept.some((bytes) => bytes.equals(damaged)),
        'every byte is kept',
      );
      await running.restart();
      await running.healthy();
      assert.equal((await running.caller.describe()).needsOperator, undefined);
      if (!obeysUntilAdopted) {
        await assert.rejects(running.caller.execute(maintenance('late', [1, 9, 9], true)), {
          code: 'FENCE_UNREADABLE',
          message: /until it is adopted/,
        });
        await assert.rejects(running.caller.adopt([1, 4, 9]), { code: 'STALE_TOKEN' });
      }
      await running.caller.adopt([1, 6, 1]);
      const { result } = await running.caller.execute(maintenance('new', [1, 6, 2], true));
      assert.equal(result.outcome, 'done');
    });
  }

  test('a service that runs beside its unreadable record must be stopped by hand first', async (t) => {
    const running = await RunningNode.start(t, cluster);
    const { node } = running;
    const pid = node.servicePid();
    await running.stop();
    const record = await readFile(node.at('run', 'service.json'));
    await writeFile(node.at('run', 'service.json'), '{');
    await assert.rejects(restore(node), { code: 'STOP_FAILED', message: new RegExp(`\\(pid .*${pid}`) });
    assert.equal(await readFile(node.at('run', 'service.json'), 'utf8'), '{');
    await writeFile(node.at('run', 'service.json'), record);
  });

  test('a journal that is set aside does not take the lineage with it (protocol, rule 21)', async (t) => {
    const running = await RunningNode.start(t, cluster, { version: 'none' });
    const { node } = running;
    await running.stop();
    const opened = await openNode(node.config, environment);
    t.after(() => opened.closeLog());
    const fence = await Fence.open(fenceDisk(opened.paths));
    const lineage = { term: 5n, nonce: 'five' };
    await fence.raise({ epoch: 1n, term: 5n, seq: 1n }, 'adopt-5-1', lineage);
    await writeFile(node.at('agent', 'journal', '0000000001.json'), '{');
    await setStateAside(opened, await unreadableState(node.config, opened.paths), newId);
    const { current } = await Fence.open(fenceDisk(opened.paths));
    assert.deepEqual([current?.adoptFirst, current?.token.term], [true, 5n]);
    assert.deepEqual(current?.lineage, lineage);
  });

  test('a crash between the two journals leaves one that is whole', async (t) => {
    const running = await RunningNode.start(t, cluster);
    const { node } = running;
    await running.caller.execute(maintenance('on', [1, 5, 2], true));
    await running.stop();
    await truncate(node.at('agent', 'journal', '0000000002.json'), 20);
    const opened = await openNode(node.config, environment);
    await setStateAside(opened, await unreadableState(node.config, opened.paths), newId);
    // Until now the old journal stands there: the node still holds.
    assert.equal((await statusOffline(node.config)).needsOperator?.code, 'JOURNAL_UNREADABLE');
    const next = node.at('agent', 'journal-next');
    await mkdir(next);
    const journal = await Journal.open(journalDisk(next), () => new Date());
    await journal.append({
      kind: 'by_hand',
      commandId: 'by-hand',
      act: { word: 'as_it_is' },
      ...said,
      setAside: ['journal'],
      step: 'as_it_is',
      facts: await factsOf(opened, {}),
    });
    await rename(node.at('agent', 'journal'), node.at('agent', 'quarantine', 'journal'));
    await running.restart();
    await running.healthy();
    const { jobs } = await running.caller.adopt([1, 6, 1]);
    assert.deepEqual(
      jobs.map(({ commandId, result }) => [commandId, result?.outcome]),
      [['by-hand', 'done']],
    );
  });
});

/** The contents of all files below a folder. */
async function bytesIn(folder: string): Promise<Buffer[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile());
  return Promise.all(files.map((entry) => readFile(join(entry.parentPath, entry.name))));
}
