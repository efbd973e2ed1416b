/**
 * Every journal that an agent can find at its start: each prefix of each kind of job. For every one the next
 * agent comes to an end, does first what the table in docs/alone.md says, and the unit of the service is told
 * what stands there. `UPDATE_TABLE=1` writes the table anew; read the difference as carefully as code.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { limits } from '../../config/limits.js';
import { Command } from '../../gen/plexi/v1/node_agent.js';
import { openTestNode } from '../agent-node.test.part.js';
import { firstStepOf } from '../by-hand/acts.js';
import { whyEndedJobsWait, whyOpenJobWaits } from '../by-hand/may-start.js';
import type { AgentNode } from '../node.js';
import { Executor } from '../upgrade/executor.js';
import { ModelNode } from '../upgrade/model-node.test.part.js';
import { rollBackPhases, upgradePhases } from '../upgrade/phases.js';
import { facts, result } from './job-records.test.part.js';
import { type Job, Journal } from './journal.js';
import { MemoryJournalDisk } from './memory-disk.test.part.js';
import { type JournalRecord, journalRecord, type NewRecord } from './records.js';
import { type Recovery, recoveryOf } from './recover.js';

const document = new URL('../../docs/alone.md', import.meta.url);
const wall = () => new Date(0);
const many = 50;
const forward = upgradePhases.map(({ step }) => step);
const back = rollBackPhases.map(({ step }) => step);

let root = '';
let node: AgentNode;
before(async () => {
  root = mkdtempSync(join(tmpdir(), 'plexi-prefix-'));
  node = await openTestNode(root);
});
after(() => rmSync(root, { recursive: true, force: true }));

const ms = 60_000n;
const timeouts = {
  ...{ maintenanceMs: ms, stopMs: ms, backupMs: ms, migrateMs: ms, applyMs: ms },
  ...{ probeMs: ms, rollbackMs: ms, testMs: ms },
};

function upgrade(restartByHand = false): Command {
  const value = {
    from: { version: '0a1', digest: 'a' },
    to: { version: '0b1', digest: 'b' },
    migrations: [{ id: '001', checksum: 'c', direction: 'up' }],
    backup: true,
    tests: true,
    restartByHand,
    timeouts,
  };
  return Command.fromPartial({ commandId: 'job', step: { $case: 'upgrade', value } });
}

const maintenance = Command.fromPartial({
  commandId: 'job',
  step: { $case: 'maintenance', value: { on: false, reason: 'disks', timeoutMs: 10_000n } },
});
const takeOver = Command.fromPartial({
  commandId: 'job',
  step: { $case: 'takeOver', value: { version: '3.0.0', directory: '/nowhere', timeoutMs: 1_000n } },
});

function accepted(command: Command, step: string): NewRecord {
  return {
    kind: 'accepted',
    commandId: 'job',
    command: Object(Command.toJSON(command)),
    payloadHash: '',
    token: { epoch: '1', term: '1', seq: '1' },
    step,
    facts,
  };
}

type ActWord = Parameters<typeof firstStepOf>[0];

function byHand(word: ActWord): NewRecord {
  const act = word === 'restore' ? { word, directory: 'backups' } : { word };
  return {
    ...{ kind: 'by_hand', commandId: 'job', act, by: 'ada', reason: 'alone', setAside: [] },
    ...{ step: firstStepOf(word), facts: { ...facts, folderAfter: null } },
  };
}

const takenBack: NewRecord = {
  ...{ kind: 'by_hand', commandId: 'job', act: { word: 'take_back' }, by: 'ada', reason: 'alone' },
  ...{ setAside: [], step: 'probe', facts },
};

async function journalOf(records: readonly NewRecord[]): Promise<MemoryJournalDisk> {
  const disk = new MemoryJournalDisk();
  const journal = await Journal.open(disk, wall);
  for (const record of records) await journal.append(record);
  return disk;
}

/** The records of a whole job, as the real executor writes them. */
async function recordsOf(command: Command, model: ModelNode): Promise<JournalRecord[]> {
  const disk = new MemoryJournalDisk();
  const journal = await Journal.open(disk, wall);
  const executor = new Executor(node, journal, model.forwardPhases, model.backPhases);
  if (command.step?.$case !== 'upgrade') throw new Error('it is an upgrade');
  const step = executor.firstStep(command.step.value, facts);
  await executor.start(await journal.append(accepted(command, step)));
  return disk.records().map((record) => journalRecord.parse(record));
}

/** Starts the next agent on a journal. Returns what it did first, and how the job ended. */
async function nextAgent(disk: MemoryJournalDisk): Promise<{ ran: string[]; outcome: string | undefined }> {
  const model = new ModelNode();
  const journal = await Journal.open(disk.revived(), wall);
  const executor = new Executor(node, journal, model.forwardPhases, model.backPhases);
  await (await executor.recover())?.ended;
  assert.equal(journal.open(), undefined, 'no job stays open');
  return { ran: model.ran, outcome: journal.list().at(-1)?.result?.outcome };
}

function recovery(job: Job, resumed: number): Recovery {
  const says = (step: string) => upgradePhases.find((phase) => phase.step === step)?.onRestart ?? 'redo';
  return recoveryOf({ ...job, resumed }, says);
}

function firstStep(job: Job, { ...does }: Recovery): string | undefined {
  switch (does.kind) {
    case 'nothing':
    case 'give_up':
      return undefined;
    case 'roll_back': {
      const order = Command.fromJSON(job.command).step;
      if (order?.$case !== 'upgrade') throw new Error('it is an upgrade');
      return rollBackPhases.find((phase) => phase.applies(order.value, job, undefined))?.step;
    }
    default:
      return does.from;
  }
}

describe('every prefix of every journal', () => {
  const ways: [string, Command, () => ModelNode][] = [
    ['a good upgrade', upgrade(), () => new ModelNode()],
    ['a good upgrade with a restart by hand', upgrade(true), () => new ModelNode()],
    ...forward
      .slice(0, forward.indexOf('commit'))
      .map((step): [string, Command, () => ModelNode] => [
        `an upgrade that fails at ${step}`,
        upgrade(step === 'await_start'),
        () => new ModelNode().fail(step),
      ]),
    ...back.map((step): [string, Command, () => ModelNode] => [
      `a rollback that fails at ${step}`,
      upgrade(),
      () => new ModelNode().fail('probe').fail(step),
    ]),
  ];
  for (const [what, command, model] of ways) {
    test(`${what}: the next agent does first what the table says, and comes to an end`, async () => {
      const records = await recordsOf(command, model());
      for (let length = 1; length <= records.length; length++) {
        for (const resumed of [0, limits.journalRedo, limits.journalRedoOnward, many]) {
          const last = records[length - 1];
          if (last?.kind === 'finished' && resumed > 0) continue;
          const again = (): NewRecord => ({ kind: 'resumed', commandId: 'job', step: '' });
          const disk = await journalOf([
            ...records
              .slice(0, length)
              .map(({ sequence: _s, schema: _v, at: _a, ...rest }) => rest as NewRecord),
            ...Array.from({ length: resumed }, again),
          ]);
          const job = (await Journal.open(disk, wall)).open();
          const { ran, outcome } = await nextAgent(disk);
          const does: Recovery = job === undefined ? { kind: 'nothing' } : recovery(job, resumed);
          const at = `${what}, ${length} records, ${resumed} restarts`;
          assert.equal(ran[0], job && firstStep(job, does), at);
          assert.ok(outcome !== undefined, at);
          if (does.kind === 'give_up')
            assert.equal(outcome, job?.goingBack === undefined ? 'failed' : 'rollback_failed', at);
        }
      }
    });
  }
});

interface Row {
  readonly last: string;
  readonly next: string;
  readonly tooOften: string;
  readonly mayStart: string;
}

function words(does: Recovery): string {
  switch (does.kind) {
    case 'nothing':
      return 'has nothing to do';
    case 'redo':
      return `begins \`${does.from}\` again`;
    case 'finish':
      return `finishes, from \`${does.from}\``;
    case 'roll_back':
      return 'goes back';
    case 'go_on_back':
      return `goes on back, from \`${does.from}\``;
    case 'give_up':
      return 'holds, and asks';
  }
}

async function jobOf(records: readonly NewRecord[]): Promise<Job> {
  const job = (await Journal.open(await journalOf(records), wall)).list().at(-1);
  assert.ok(job);
  return job;
}

/** When the unit of the service may start it, at this place of the journal. */
function mayStart(job: Job): MayStart {
  return startable(job, (current) => whyOpenJobWaits('node-1', job, current));
}

type MayStart = 'yes' | 'no' | 'the old release' | 'the new release';

function startable({ facts }: Job, whyWait: (current: string | null) => string | undefined): MayStart {
  const old = whyWait(facts.folderBefore) === undefined;
  const next = whyWait(facts.folderAfter) === undefined;
  if (old && next) return 'yes';
  if (old) return 'the old release';
  return next ? 'the new release' : 'no';
}

function tooOften(job: Job): string {
  const does = recovery(job, many);
  return does.kind === 'redo' ? 'the same' : words(does);
}

async function upgradeRows(): Promise<Row[]> {
  const rows: Row[] = [];
  const records: NewRecord[] = [];
  for (const [index, step] of forward.entries()) {
    const done = forward[index - 1];
    records.push(
      done === undefined
        ? accepted(upgrade(), step)
        : { kind: 'step', commandId: 'job', done, step, committed: step === 'commit' },
    );
    const job = await jobOf(records);
    rows.push({
      last: `\`${step}\`${job.committed ? ', committed' : ''}`,
      next: words(recovery(job, 0)),
      tooOften: tooOften(job),
      mayStart: mayStart(job),
    });
  }
  const failure = { code: 'PROBE_FAILED', message: 'it did not get healthy' };
  const before = records.slice(0, forward.indexOf('commit'));
  for (const step of back) {
    const turned: NewRecord = { kind: 'going_back', commandId: 'job', failure, failedStep: 'probe', step };
    const job = await jobOf([...before, turned]);
    rows.push({
      last: `\`${step}\`, going back`,
      next: words(recovery(job, 0)),
      tooOften: tooOften(job),
      mayStart: mayStart(job),
    });
  }
  const job = await jobOf([...before, takenBack]);
  rows.push({
    last: 'taken back by hand',
    next: words(recovery(job, 0)),
    tooOften: tooOften(job),
    mayStart: mayStart(job),
  });
  return rows;
}

/** Jobs of another kind, through the real executor: what it does is told by the record that it writes first. */
async function otherRow(last: string, records: readonly NewRecord[]): Promise<Row> {
  const seen: string[] = [];
  for (const resumed of [0, many]) {
    const again: NewRecord = { kind: 'resumed', commandId: 'job', step: '' };
    const disk = await journalOf([...records, ...Array.from({ length: resumed }, () => again)]);
    const before = disk.records().length;
    await nextAgent(disk);
    const after = disk
      .records()
      .slice(before)
      .map((record) => journalRecord.parse(record));
    const [first] = after;
    const end = after.at(-1);
    assert.ok(first?.kind === 'resumed' && end?.kind === 'finished', last);
    const isGivenUp = end.result.failure?.code === 'INTERRUPTED';
    const asks = end.result.outcome === 'rollback_failed';
    seen.push(isGivenUp ? (asks ? 'holds, and asks' : 'gives it up') : `begins \`${first.step}\` again`);
  }
  const job = await jobOf(records);
  return { last, next: seen[0] ?? '', tooOften: seen[1] ?? '', mayStart: mayStart(job) };
}

async function otherRows(): Promise<Row[]> {
  const rows = [
    await otherRow('maintenance by a controller', [accepted(maintenance, 'maintenance')]),
    await otherRow('a taking over', [accepted(takeOver, 'take_over')]),
  ];
  const steps: Record<ActWord, string[]> = {
    rollback: ['stop_by_hand', 'switch_by_hand', 'start_by_hand', 'probe_by_hand'],
    restore: ['stop_by_hand', 'restore_by_hand', 'switch_by_hand', 'start_by_hand', 'probe_by_hand'],
    as_it_is: ['as_it_is'],
    maintenance_off: ['maintenance_off_by_hand'],
  };
  for (const [word, names] of Object.entries(steps) as [ActWord, string[]][]) {
    const records: NewRecord[] = [byHand(word)];
    for (const [index, step] of names.entries()) {
      const done = names[index - 1];
      if (done !== undefined) records.push({ kind: 'step', commandId: 'job', done, step, committed: false });
      const row = await otherRow(`\`${step}\`, of ${word.replaceAll('_', ' ')} by hand`, records);
      if (!rows.some(({ last }) => last === row.last)) rows.push(row);
    }
  }
  return rows;
}

/** What a job has ended with, and what may be started then. Written down by hand: nothing computes it. */
const ended: [begun: NewRecord, outcome: typeof result.outcome, failedStep: string, starts: MayStart][] = [
  [accepted(upgrade(), 'stop'), 'done', '', 'yes'],
  [accepted(upgrade(), 'stop'), 'rolled_back', 'probe', 'yes'],
  [accepted(upgrade(), 'stop'), 'failed', 'leave_maintenance', 'yes'],
  // Something that was left running may still write into data that is half migrated.
  [accepted(upgrade(), 'stop'), 'rollback_failed', 'migrate', 'no'],
  [accepted(upgrade(), 'stop'), 'rollback_failed', 'test', 'the new release'],
  // Data of the new release; with its links, or still with the old ones.
  [accepted(upgrade(), 'stop'), 'rollback_failed', 'stop_new', 'the new release'],
  [accepted(upgrade(), 'stop'), 'rollback_failed', 'restore', 'no'],
  // The data is whole again; the links may not be.
  [accepted(upgrade(), 'stop'), 'rollback_failed', 'switch_back', 'the old release'],
  [accepted(upgrade(), 'stop'), 'rollback_failed', 'start_old', 'the old release'],
  [accepted(upgrade(), 'stop'), 'rollback_failed', 'probe_old', 'the old release'],
  [accepted(upgrade(), 'stop'), 'rollback_failed', 'leave_maintenance_back', 'the old release'],
  [accepted(upgrade(), 'stop'), 'rollback_failed', 'a step of another agent', 'no'],
  // Nothing was migrated between the two releases.
  [byHand('rollback'), 'rollback_failed', 'switch_by_hand', 'yes'],
  [byHand('rollback'), 'rollback_failed', 'start_by_hand', 'yes'],
  [byHand('rollback'), 'rollback_failed', 'probe_by_hand', 'yes'],
  [byHand('restore'), 'rollback_failed', 'restore_by_hand', 'no'],
  [byHand('restore'), 'rollback_failed', 'switch_by_hand', 'the new release'],
  [byHand('restore'), 'rollback_failed', 'start_by_hand', 'the new release'],
  [byHand('restore'), 'rollback_failed', 'probe_by_hand', 'the new release'],
  // The operator's word is that data and release belong together.
  [byHand('as_it_is'), 'rollback_failed', 'as_it_is', 'the new release'],
];

/** These change neither data nor links, so the job before says how the node is. */
const untouched: [begun: NewRecord, failedStep: string][] = [
  [byHand('rollback'), 'stop_by_hand'],
  [byHand('restore'), 'stop_by_hand'],
  ...['enter_maintenance', 'stop', 'backup'].map((step): [NewRecord, string] => [
    accepted(upgrade(), step),
    step,
  ]),
];

function ending(outcome: typeof result.outcome, failedStep: string, commandId = 'job'): NewRecord {
  return { kind: 'finished', commandId, result: { ...result, outcome, failedStep } };
}

async function mayStartAfter(records: readonly NewRecord[]): Promise<MayStart> {
  const jobs = (await Journal.open(await journalOf(records), wall)).list();
  return startable(await jobOf(records), (current) => whyEndedJobsWait('node-1', jobs, current));
}

async function endedRows(): Promise<Row[]> {
  const rows: Row[] = [];
  for (const [begun, outcome, failedStep, starts] of ended) {
    const records = [begun, ending(outcome, failedStep)];
    const of = begun.kind === 'by_hand' ? `, of ${begun.act.word.replaceAll('_', ' ')} by hand` : '';
    const at = failedStep === '' || outcome === 'rolled_back' ? '' : ` at \`${failedStep}\``;
    const last = `ended \`${outcome}\`${at}${of}`;
    const { ran } = await nextAgent(await journalOf(records));
    assert.deepEqual(ran, [], last);
    assert.equal(await mayStartAfter(records), starts, last);
    const asks = outcome === 'rollback_failed' || outcome === 'failed';
    rows.push({
      last,
      next: asks ? 'holds, and asks' : 'has nothing to do',
      tooOften: 'the same',
      mayStart: starts,
    });
  }
  return rows;
}

test('a job that failed before it changed anything does not say how the node is', async () => {
  for (const [begun, failedStep] of untouched) {
    const last = [begun, ending('rollback_failed', failedStep)];
    const after = (step: string, outcome: typeof result.outcome): Promise<MayStart> => {
      const before: NewRecord = { ...accepted(upgrade(), 'stop'), commandId: 'before' };
      return mayStartAfter([before, ending(outcome, step, 'before'), ...last]);
    };
    assert.equal(await mayStartAfter(last), 'yes', failedStep);
    assert.equal(await after('', 'done'), 'yes', failedStep);
    assert.equal(await after('restore', 'rollback_failed'), 'no', failedStep);
    assert.equal(await after('start_old', 'rollback_failed'), 'the old release', failedStep);
  }
});

test('the table in docs/alone.md has every last record, and what is true of it', async () => {
  const rows = [...(await upgradeRows()), ...(await otherRows()), ...(await endedRows())];
  const lines = [
    '| the last record says | the next agent | and restarted in it again and again | may its unit start the service |',
    '|---|---|---|---|',
    ...rows.map((row) => `| ${row.last} | ${row.next} | ${row.tooOften} | ${row.mayStart} |`),
  ];
  const text = readFileSync(document, 'utf8');
  const [head = '', rest = ''] = text.split('<!-- table -->\n');
  const [, tail = ''] = rest.split('<!-- end of table -->');
  const wanted = `${head}<!-- table -->\n${lines.join('\n')}\n<!-- end of table -->${tail}`;
  if (process.env.UPDATE_TABLE === '1') writeFileSync(document, wanted);
  else assert.equal(text, wanted);
});
