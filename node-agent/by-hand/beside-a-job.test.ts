/**
 * Words on the node beside a job, on a journal whose disk waits: said while a record of the job is being
 * written, or while old ones are removed. Whoever loses is told so, and the journal can be read afterwards.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { limits } from '../../config/limits.js';
import { Command } from '../../gen/plexi/v1/node_agent.js';
import { agentConfig, openTestNode } from '../agent-node.test.part.js';
import { appendAll, facts, result, wholeJob } from '../journal/job-records.test.part.js';
import { Journal } from '../journal/journal.js';
import { MemoryJournalDisk } from '../journal/memory-disk.test.part.js';
import type { JournalRecord, NewRecord } from '../journal/records.js';
import type { AgentNode } from '../node.js';
import { Orphaned } from '../orphaned.js';
import { journalDisk } from '../state-disk.js';
import { Executor } from '../upgrade/executor.js';
import { ModelNode } from '../upgrade/model-node.test.part.js';
import { type Hands, obey } from './hands.js';
import { restoreByHand } from './restore.js';

const said = { by: 'ada', reason: 'no controller is left' };
const rollback = { word: 'rollback', forceAfterCommit: false, ...said } as const;
const maintenanceOff = { word: 'maintenance_off', ...said } as const;
const wall = () => new Date(0);

const ms = 60_000n;
const timeouts = {
  ...{ maintenanceMs: ms, stopMs: ms, backupMs: ms, migrateMs: ms, applyMs: ms },
  ...{ probeMs: ms, rollbackMs: ms, testMs: ms },
};

function accepted(step = 'enter_maintenance', restartByHand = false): NewRecord {
  const value = {
    from: { version: '0a1', digest: 'a' },
    to: { version: '0b1', digest: 'b' },
    migrations: [{ id: '001', checksum: 'c', direction: 'up' }],
    backup: true,
    restartByHand,
    timeouts,
  };
  const command = Command.fromPartial({ commandId: 'job', step: { $case: 'upgrade', value } });
  return {
    ...{ kind: 'accepted', commandId: 'job', command: Object(Command.toJSON(command)), payloadHash: '' },
    ...{ token: { epoch: '1', term: '1', seq: '1' }, step, facts },
  };
}

const maintained = Command.fromPartial({
  commandId: 'job',
  step: { $case: 'maintenance', value: { on: true } },
});
const committed: NewRecord = {
  ...{ kind: 'step', commandId: 'job', done: 'probe', step: 'commit', committed: true },
};

/** A disk that stops before what a test names, until it is let go on. */
class WaitingDisk extends MemoryJournalDisk {
  stopsAt: (record: JournalRecord | 'remove') => boolean = () => false;
  private reached: () => void = () => undefined;
  private goOn: () => void = () => undefined;
  private readonly go = new Promise<void>((resolve) => {
    this.goOn = resolve;
  });
  readonly waiting = new Promise<void>((resolve) => {
    this.reached = resolve;
  });

  letGo(): void {
    this.goOn();
  }

  override async create(name: string, bytes: Uint8Array): Promise<void> {
    await this.waitAt(JSON.parse(Buffer.from(bytes).toString('utf8')));
    return super.create(name, bytes);
  }

  override async remove(name: string): Promise<void> {
    await this.waitAt('remove');
    return super.remove(name);
  }

  private async waitAt(what: JournalRecord | 'remove'): Promise<void> {
    if (!this.stopsAt(what)) return;
    this.reached();
    await this.go;
  }
}

let root = '';
let node: AgentNode;
before(() => {
  root = mkdtempSync(join(tmpdir(), 'plexi-beside-'));
});
after(() => rmSync(root, { recursive: true, force: true }));
beforeEach(async () => {
  node = await openTestNode(mkdtempSync(join(root, 'node-')));
});
afterEach(() => node.closeLog());

async function handsOn(disk: MemoryJournalDisk, model = new ModelNode(), prior: NewRecord[] = []) {
  const journal = await Journal.open(disk, wall);
  await appendAll(journal, prior);
  const executor = new Executor(node, journal, model.forwardPhases, model.backPhases);
  let section: Promise<unknown> = Promise.resolve();
  const exclusively: Hands['exclusively'] = (work) => {
    const turn = section.then(work, work);
    section = turn.catch(() => undefined);
    return turn;
  };
  const hands: Hands = { node, journal, executor, needsOperator: () => executor.broken, exclusively };
  return { journal, executor, hands };
}

const reopened = (disk: MemoryJournalDisk) => Journal.open(disk.revived(), wall);

async function inMaintenance(): Promise<void> {
  const runHook = () => Promise.reject(new Error('no hook is run'));
  await node.maintenance.enter({ reason: 'disks', since: '', withHooks: false, runHook });
}

describe('a word beside a job', () => {
  test('that takes it back while its end is being written is refused, and nothing of it is left', async () => {
    const disk = new WaitingDisk();
    const { journal, executor, hands } = await handsOn(disk, new ModelNode().fail('probe'));
    disk.stopsAt = (record) => record !== 'remove' && record.kind === 'finished';
    const ended = executor.start(await journal.append(accepted()));
    await disk.waiting;
    const word = assert.rejects(obey(hands, rollback), {
      code: 'CONFLICT',
      message: /^job has ended meanwhile \(rolled_back\)/,
    });
    await nextTurn();
    disk.letGo();
    await word;
    assert.equal((await ended).outcome, 'rolled_back');
    const read = await reopened(disk);
    assert.deepEqual([read.open(), read.find('job')?.byHand], [undefined, undefined]);
  });

  test('that takes it back while its commit is being written is refused', async () => {
    const disk = new WaitingDisk();
    const { journal, executor, hands } = await handsOn(disk);
    disk.stopsAt = (record) => record !== 'remove' && record.kind === 'step' && record.committed;
    const ended = executor.start(await journal.append(accepted()));
    await disk.waiting;
    const word = assert.rejects(obey(hands, rollback), { code: 'CONFLICT', message: /^job has committed/ });
    await nextTurn();
    disk.letGo();
    await word;
    assert.equal((await ended).outcome, 'done');
    assert.equal((await reopened(disk)).find('job')?.byHand, undefined);
  });

  test('that is written before the commit keeps the job from committing', async () => {
    const disk = new WaitingDisk();
    const model = new ModelNode();
    let probe: () => void = () => undefined;
    const mayGoOn = new Promise<void>((resolve) => {
      probe = resolve;
    });
    model.disturbances.push({ step: 'probe', moment: 'after', act: () => mayGoOn });
    const { journal, executor, hands } = await handsOn(disk, model);
    disk.stopsAt = (record) => record !== 'remove' && record.kind === 'by_hand';
    const ended = executor.start(await journal.append(accepted()));
    while (model.ran.at(-1) !== 'probe') await nextTurn();
    const word = obey(hands, rollback);
    await disk.waiting;
    probe();
    // The commit is next, and stands behind the word.
    await nextTurn();
    disk.letGo();
    assert.equal((await word).outcome, 'rolled_back');
    assert.equal((await ended).failure?.message, 'taken back on the node by ada: no controller is left');
    const job = (await reopened(disk)).find('job');
    assert.deepEqual([job?.committed, job?.result?.outcome], [false, 'rolled_back']);
  });

  test('is no success when the job that it took back is done', async () => {
    const { hands } = await handsOn(new MemoryJournalDisk(), new ModelNode(), [accepted('probe')]);
    const done = { ...result, outcome: 'done' } as const;
    const executor = Object.assign(Object.create(hands.executor), { cancel: async () => done });
    await assert.rejects(obey({ ...hands, executor }, rollback), {
      code: 'CONFLICT',
      message: /^job has committed and has ended \(done\)/,
    });
  });

  test('is refused while the job before it is being put away, and begins none of its own', async () => {
    const disk = new WaitingDisk();
    const many = Array.from({ length: limits.journalJobsKept + 1 }, (_, at) => wholeJob(`old-${at}`)).flat();
    const { journal, executor, hands } = await handsOn(disk, new ModelNode(), many);
    await inMaintenance();
    disk.stopsAt = (what) => what === 'remove';
    const ended = executor.start(await journal.append(accepted()));
    await disk.waiting;
    await assert.rejects(obey(hands, maintenanceOff), { code: 'CONFLICT', message: /is just ending/ });
    disk.letGo();
    assert.equal((await ended).outcome, 'done');
    assert.equal(journal.open(), undefined);
    assert.equal((await reopened(disk)).open(), undefined);
    assert.equal((await obey(hands, maintenanceOff)).outcome, 'done');
  });

  test('that this agent does not know is refused before anything is written', async () => {
    const disk = new MemoryJournalDisk();
    const { hands } = await handsOn(disk, new ModelNode(), [accepted('polish')]);
    await assert.rejects(obey(hands, rollback), {
      code: 'CONFLICT',
      message: /a step that this agent does not know/,
    });
    assert.equal(disk.files.size, 1);
  });

  test('on a committed job that nothing works on says what brings it to its end', async () => {
    const { hands } = await handsOn(new MemoryJournalDisk(), new ModelNode(), [accepted('probe'), committed]);
    await inMaintenance();
    for (const word of [rollback, maintenanceOff])
      await assert.rejects(obey(hands, word), {
        code: 'CONFLICT',
        message: /nothing works on it.*start plexi-node-agent/,
      });
  });
});

test('beside a job that is not taken back no word says that it could be', async () => {
  const begun: NewRecord = Object({ ...accepted('maintenance'), command: Command.toJSON(maintained) });
  const goingBack: NewRecord = {
    ...{ kind: 'going_back', commandId: 'job', failedStep: 'stop', step: 'start_old' },
    failure: { code: 'STOP_FAILED', message: 'x' },
  };
  for (const [prior, orBack] of [
    [[accepted()], true],
    [[begun], false],
    [[accepted('stop'), goingBack], false],
  ] as const) {
    const { hands } = await handsOn(new MemoryJournalDisk(), new ModelNode(), [...prior]);
    const says = (what: RegExp) => (error: Error) => {
      assert.match(error.message, what);
      assert.equal(error.message.includes('plexi-node-agent rollback'), orBack, error.message);
      return true;
    };
    await assert.rejects(
      obey(hands, maintenanceOff),
      says(/^job is under way on node-1; nothing works on it/),
    );
    const held = await openTestNode(mkdtempSync(join(root, 'held-')));
    await appendAll(await Journal.open(journalDisk(held.paths.journal), wall), [...prior]);
    const order = { ...said, backupId: undefined, directory: undefined };
    await assert.rejects(
      restoreByHand(held, order, () => 'an-installation'),
      says(/^job is open; start plexi-node-agent, which brings it to its end/),
    );
    await held.closeLog();
  }
});

/** A disk on which the commit record stands, and whose folder could then not be flushed. */
class UnflushedCommit extends MemoryJournalDisk {
  override async create(name: string, bytes: Uint8Array): Promise<void> {
    await super.create(name, bytes);
    const record: JournalRecord = JSON.parse(Buffer.from(bytes).toString('utf8'));
    if (record.kind === 'step' && record.committed) throw new Error('the folder could not be flushed');
  }
}

test('whether a job has committed is said by the disk: neither an orphan nor a word takes back what stands there', async () => {
  const disk = new UnflushedCommit();
  const model = new ModelNode();
  const { journal, executor, hands } = await handsOn(disk, model);
  await assert.rejects(executor.start(await journal.append(accepted())), /could not be flushed/);
  assert.equal(journal.open()?.committed, false, 'so the agent believes');
  let nowMs = 0;
  const afterMs = 1_000;
  const config = agentConfig('/nowhere', { orphan: { afterMs, action: 'roll_back' } });
  const clock = { nowMs: () => nowMs, wall };
  const orphaned = new Orphaned({ ...node, config, clock }, journal, executor, hands);
  const ranBefore = [...model.ran];
  nowMs = afterMs;
  await assert.rejects(orphaned.look(), /is taken/);
  await assert.rejects(obey(hands, rollback), /is taken/);
  assert.deepEqual(model.ran, ranBefore, 'nothing was begun');
  assert.notEqual(executor.broken, undefined, 'the node holds, and asks');
  const next = new Executor(node, await reopened(disk), model.forwardPhases, model.backPhases);
  const result = await (await next.recover())?.ended;
  assert.deepEqual([result?.outcome, model.state.service, model.state.data], ['done', 'new', 'new']);
});

test('a job whose wait for a person has just ended is no orphan', async () => {
  const disk = new WaitingDisk();
  const model = new ModelNode();
  model.disturbances.push({
    ...{ step: 'await_start', moment: 'middle' },
    act: ({ progress }) => progress(0, 'waits for a person', 'start the service'),
  });
  const { journal, executor, hands } = await handsOn(disk, model);
  disk.stopsAt = (record) => record !== 'remove' && record.kind === 'step' && record.step === 'probe';
  const ended = executor.start(await journal.append(accepted('enter_maintenance', true)));
  await disk.waiting;
  let nowMs = 0;
  const config = agentConfig('/nowhere', { orphan: { afterMs: 1_000, action: 'roll_back' } });
  const clock = { nowMs: () => nowMs, wall };
  const orphaned = new Orphaned({ ...node, config, clock }, journal, executor, hands);
  nowMs = 1_000;
  assert.equal(await orphaned.look(), undefined, 'the person was there, and the next step begins');
  disk.letGo();
  assert.equal((await ended).outcome, 'done');
});
