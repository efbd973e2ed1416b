/**
 * A start by hand beside the end of the wait for it, on a real node whose journal waits where a test says so:
 * whether a job waits is said by the job, and what is taken back is not started any more.
 */
import assert from 'node:assert/strict';
import { basename } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { Command } from '../gen/plexi/v1/node_agent.js';
import { openNode } from './agent.js';
import { environment } from './agent-node.test.part.js';
import { localAnswers } from './by-hand/local-answers.js';
import { Journal, type JournalDisk } from './journal/journal.js';
import type { JournalRecord, NewRecord } from './journal/records.js';
import { linkedFolder } from './node.js';
import { startByHand } from './start-by-hand.js';
import { journalDisk } from './state-disk.js';
import { CheckedNode, clusterWith, linkTo } from './upgrade/checked-node.test.part.js';
import { Executor } from './upgrade/executor.js';

const { cluster, old, next } = await clusterWith('0b3');

/** A disk on which the record of a way back waits until it is let go on. */
function slowDisk(disk: JournalDisk) {
  let reach: () => void = () => undefined;
  let goOn: () => void = () => undefined;
  const reached = new Promise<void>((resolve) => {
    reach = resolve;
  });
  const go = new Promise<void>((resolve) => {
    goOn = resolve;
  });
  const create = async (name: string, bytes: Uint8Array): Promise<void> => {
    const { kind }: JournalRecord = JSON.parse(Buffer.from(bytes).toString('utf8'));
    if (kind === 'going_back') {
      reach();
      await go;
    }
    return disk.create(name, bytes);
  };
  return { disk: { ...disk, create }, reached, goOn };
}

/** An upgrade that waits for a person, without a listening agent around it. */
async function waiting(t: TestContext) {
  const checked = await CheckedNode.start(t, cluster);
  await checked.caller.execute(checked.stageOrder(next));
  await checked.stop();
  const node = await openNode(checked.node.config, environment);
  t.after(async () => {
    await node.monitor.stop();
    await node.closeLog();
  });
  const { disk, reached, goOn } = slowDisk(journalDisk(node.paths.journal));
  const journal = await Journal.open(disk, environment.clock.wall);
  const executor = new Executor(node, journal);
  const job = await journal.append(
    await accepted(checked.upgradeOrder(old, next, { restartByHand: true }), node.paths.current),
  );
  const isWaiting = new Promise<void>((resolve) => {
    executor.watch((_commandId, { waitsFor }) => {
      if (waitsFor !== '') resolve();
    });
  });
  const ended = executor.start(job);
  await Promise.race([isWaiting, ended]);
  const answers = localAnswers('node-1');
  const nobody = (): undefined => undefined;
  const parts = { node, journal, executor, unreadable: undefined, holds: nobody, needsOperator: nobody };
  const commands = { exclusively: <T>(work: () => Promise<T>): Promise<T> => work() };
  answers.open({ ...parts, commands, fence: Object({}) });
  const start = (): Promise<unknown> => answers.answer({ word: 'start' });
  return { checked, node, executor, commandId: job.commandId, ended, reached, goOn, start };
}

async function accepted(command: Command, current: string): Promise<NewRecord> {
  const folderBefore = (await linkedFolder(current)) ?? null;
  return {
    kind: 'accepted',
    commandId: command.commandId,
    command: Object(Command.toJSON(command)),
    payloadHash: '',
    token: { epoch: '1', term: '1', seq: '1' },
    step: 'enter_maintenance',
    facts: {
      ...{ wasInMaintenance: false, previousBefore: null, backupId: '' },
      ...{ folderBefore, folderAfter: basename(linkTo(next)) },
    },
  };
}

describe('a start by hand', () => {
  test('behind a taking back is refused, although the disk does not know of that yet', async (t) => {
    const { checked, executor, commandId, ended, reached, goOn, start } = await waiting(t);
    executor.cancel(commandId, 'the rollout turned back');
    await reached;
    await assert.rejects(start(), {
      code: 'CONFLICT',
      message: /does not wait for a start: its job goes back/,
    });
    assert.equal(await checked.node.serviceVersion(), undefined, 'nothing was started');
    goOn();
    assert.equal((await ended).outcome, 'rolled_back');
    assert.equal(await checked.node.serviceVersion(), '0a1');
  });

  test('ends the wait at once, and a taking back in its middle comes after it', async (t) => {
    const { checked, executor, commandId, ended, goOn, start } = await waiting(t);
    goOn();
    const first = start();
    while (executor.progress?.waitsFor !== '') await nextTurn();
    await assert.rejects(start(), { code: 'CONFLICT', message: /the agent is at the step await_start/ });
    executor.cancel(commandId, 'the rollout turned back');
    assert.deepEqual(await first, { version: '0b3' });
    assert.equal((await ended).outcome, 'rolled_back');
    assert.equal(await checked.node.serviceVersion(), '0a1');
  });

  test('that fails is told, and the job waits on', async (t) => {
    const { node, executor, ended, start } = await waiting(t);
    const { service } = node;
    const startReally = service.start.bind(service);
    service.start = async () => {
      service.start = startReally;
      throw new Error('no memory is left');
    };
    await assert.rejects(start(), /no memory is left/);
    while (executor.progress?.waitsFor === '') await nextTurn();
    await start();
    assert.equal((await ended).outcome, 'done');
  });

  test('without an agent is refused for a job that was taken back on the node', async (t) => {
    const { node, executor, ended, goOn } = await waiting(t);
    const journal = await Journal.open(journalDisk(node.paths.journal), environment.clock.wall);
    const job = journal.open();
    assert.ok(job);
    const { commandId, facts } = job;
    const act = { word: 'take_back' } as const;
    const said = { by: 'ada', reason: 'x', setAside: [], step: 'await_start', facts };
    await journal.append({ kind: 'by_hand', commandId, act, ...said });
    await assert.rejects(startByHand(node.config), { code: 'CONFLICT', message: /its job goes back/ });
    goOn();
    await executor.cancel(commandId, 'x')?.catch(() => undefined);
    await ended.catch(() => undefined);
  });
});
