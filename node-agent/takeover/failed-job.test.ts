/**
 * A node that asks for an operator goes on asking, however many jobs that put nothing right follow: the journal
 * keeps the job that says why, and what may be started meanwhile. And they do not go on for ever.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { limits } from '../../config/limits.js';
import { Command } from '../../gen/plexi/v1/node_agent.js';
import { openTestNode } from '../agent-node.test.part.js';
import { obey } from '../by-hand/hands.js';
import { whyEndedJobsWait } from '../by-hand/may-start.js';
import { maintenance } from '../caller.test.part.js';
import { accepted, appendAll, result } from '../journal/job-records.test.part.js';
import { Journal } from '../journal/journal.js';
import { MemoryJournalDisk } from '../journal/memory-disk.test.part.js';
import type { JobResult, NewRecord } from '../journal/records.js';
import { Executor } from '../upgrade/executor.js';
import { failedJobTrouble, jobsThatTell, refuseEndlessJobs } from './failed-job.js';
import { takeOverStep } from './take-over.js';

const folder = mkdtempSync(join(tmpdir(), 'plexi-failed-job-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const wall = () => new Date(0);

/** A job that went back, and failed at a step of that. */
function wentBack(commandId: string, failedStep: string, first = 'enter_maintenance'): NewRecord[] {
  const failure = { code: 'ROLLBACK_FAILED', message: `${failedStep} does not work` };
  const end: JobResult = { ...result, outcome: 'rollback_failed', failure, failedStep };
  return [accepted(commandId, first), { kind: 'finished', commandId, result: end }];
}

function maintained(count: number): NewRecord[] {
  return Array.from({ length: count }, (_, at): NewRecord[] => [
    accepted(`m-${at}`, 'maintenance'),
    { kind: 'finished', commandId: `m-${at}`, result },
  ]).flat();
}

async function nodeWith(records: readonly NewRecord[]) {
  const node = await openTestNode(mkdtempSync(join(folder, 'node-')));
  await node.closeLog();
  const disk = new MemoryJournalDisk();
  const journal = await Journal.open(disk, wall);
  await appendAll(journal, records);
  const executor = new Executor(node, journal);
  /** One more job, behind whose end old ones are removed. */
  const maintain = async (on: boolean): Promise<void> => {
    const order = maintenance(`on-${on}`, [1, 5, 1], on);
    const begun = accepted(order.commandId, 'maintenance');
    assert.ok(begun.kind === 'accepted');
    await executor.start(await journal.append({ ...begun, command: Object(Command.toJSON(order)) }));
  };
  return { node, disk, journal, executor, maintain };
}

describe('a node that asks', () => {
  test('still does after more jobs than a journal keeps, and after the next start', async () => {
    const { node, disk, journal, maintain } = await nodeWith([
      ...wentBack('before', 'probe_old'),
      ...wentBack('bad', 'restore'),
      ...maintained(limits.journalJobsKept + 1),
    ]);
    await maintain(true);
    const jobs = (await Journal.open(disk.revived(), wall)).list();
    assert.deepEqual([jobs[0]?.commandId, jobs.length], ['bad', limits.journalJobsKept + 3]);
    assert.deepEqual(journal.list().length, jobs.length);
    assert.match(failedJobTrouble(jobs, node)?.message ?? '', /restore does not work/);
    assert.match(whyEndedJobsWait('node-1', jobs, '0a1-aaaaaaaaaaaa') ?? '', /going back failed at restore/);
  });

  test('keeps what says how its data is, when the job because of which it asks has changed nothing', async () => {
    const { disk, maintain } = await nodeWith([
      ...wentBack('half', 'restore'),
      ...wentBack('again', 'stop_by_hand', 'stop_by_hand'),
      ...maintained(limits.journalJobsKept),
    ]);
    await maintain(true);
    const jobs = (await Journal.open(disk.revived(), wall)).list();
    assert.equal(jobs[0]?.commandId, 'half');
    assert.match(whyEndedJobsWait('node-1', jobs, '0a1-aaaaaaaaaaaa') ?? '', /going back failed at restore/);
  });

  test('that was put right keeps no more than any other', async () => {
    const { disk, maintain } = await nodeWith([
      ...wentBack('bad', 'restore'),
      accepted('good'),
      { kind: 'finished', commandId: 'good', result },
      ...maintained(limits.journalJobsKept),
    ]);
    await maintain(true);
    assert.equal((await Journal.open(disk.revived(), wall)).list().length, limits.journalJobsKept);
  });

  test('refuses maintenance without end, and later also what might have put it right', async () => {
    const { node, journal, executor, maintain } = await nodeWith([
      ...wentBack('bad', 'restore'),
      ...maintained(limits.journalJobsAsking - 2),
    ]);
    refuseEndlessJobs('node-1', journal.list(), false);
    await maintain(true);
    assert.equal(jobsThatTell(journal.list()), limits.journalJobsAsking);
    const refused = {
      code: 'LIMIT_EXCEEDED',
      message: /node-1 asks for an operator, and 128 jobs .*restore on it/,
    };
    const hands = { node, journal, executor, needsOperator: () => undefined };
    const exclusively = <T>(work: () => Promise<T>): Promise<T> => work();
    const word = { word: 'maintenance_off', by: 'ada', reason: 'x' } as const;
    await assert.rejects(obey({ ...hands, exclusively }, word), refused);
    assert.throws(() => refuseEndlessJobs('node-1', journal.list(), false), refused);
    refuseEndlessJobs('node-1', journal.list(), true);
    const failed: JobResult = { ...result, outcome: 'failed' };
    for (let at = limits.journalJobsAsking; at < limits.journalJobsToPutRight; at++)
      await appendAll(journal, [
        accepted(`t-${at}`, takeOverStep),
        { kind: 'finished', commandId: `t-${at}`, result: failed },
      ]);
    assert.throws(() => refuseEndlessJobs('node-1', journal.list(), true), { code: 'LIMIT_EXCEEDED' });
  });
});
