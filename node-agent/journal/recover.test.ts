/**
 * What the agent does at its start with an open job: the whole table, one row for each last record
 * that a journal can end with (protocol, rule 9).
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { limits } from '../../config/limits.js';
import { rollBackPhases, upgradePhases } from '../upgrade/phases.js';
import { accepted, facts, finished, goingBack, resumed, step } from './job-records.test.part.js';
import { type Job, Journal } from './journal.js';
import { MemoryJournalDisk } from './memory-disk.test.part.js';
import type { NewRecord } from './records.js';
import { type OnRestart, type Recovery, recoveryOf } from './recover.js';

const forwardSteps = upgradePhases.map((phase) => phase.step);
const backSteps = rollBackPhases.map((phase) => phase.step);
const restarts = [0, 1, 2, limits.journalRedo, limits.journalRedo + 1, limits.journalRedoOnward, 50];
const isOnwardTooOften = (times: number): boolean => times >= limits.journalRedoOnward;

function onRestart(name: string): OnRestart {
  const phase = upgradePhases.find((candidate) => candidate.step === name);
  assert.ok(phase !== undefined, `${name} is no step of the way forward`);
  return phase.onRestart;
}

/** The open job of a journal with these records. */
async function jobOf(records: readonly NewRecord[]): Promise<Job | undefined> {
  const journal = await Journal.open(new MemoryJournalDisk(), () => new Date(0));
  for (const record of records) await journal.append(record);
  return journal.open();
}

async function recovery(records: readonly NewRecord[]): Promise<Recovery> {
  return recoveryOf(await jobOf(records), onRestart);
}

/** The records of a job that began this step as its last one. */
function upTo(last: string): NewRecord[] {
  const steps = forwardSteps.slice(0, forwardSteps.indexOf(last) + 1);
  return steps.map((name, index) => {
    const before = steps[index - 1];
    return before === undefined ? accepted('job', name) : step('job', before, name);
  });
}

function repeated(record: NewRecord, times: number): NewRecord[] {
  return Array.from({ length: times }, () => record);
}

describe('at the start of the agent', () => {
  test('there is nothing to do without an open job', async () => {
    assert.deepEqual(await recovery([]), { kind: 'nothing' });
    assert.deepEqual(await recovery([...upTo('leave_maintenance'), finished('job')]), { kind: 'nothing' });
    const wentBack = [...upTo('probe'), goingBack('job', 'probe', 'stop_new'), finished('job')];
    assert.deepEqual(await recovery(wentBack), { kind: 'nothing' });
  });

  test('a job that an operator on the node took back goes back, whatever it was at', async () => {
    const said = { by: 'ada', reason: 'alone', setAside: [], facts };
    for (const at of ['stop', 'probe']) {
      const act = { word: 'take_back' } as const;
      const word: NewRecord = { kind: 'by_hand', commandId: 'job', act, ...said, step: at };
      const expected = { kind: 'roll_back', interrupted: at };
      assert.deepEqual(await recovery([...upTo(at), word]), expected);
      assert.notDeepEqual(await recovery(upTo(at)), expected, 'without the word it would go on');
    }
  });

  const beforeCommit = [
    'enter_maintenance',
    'stop',
    'backup',
    'migrate',
    'apply',
    'await_start',
    'probe',
    'test',
  ];
  test('the steps are those of the table', () => {
    assert.deepEqual(forwardSteps, [...beforeCommit, 'commit', 'leave_maintenance']);
  });

  const once = beforeCommit.filter((candidate) => !['migrate', 'await_start'].includes(candidate));
  for (const name of once) {
    test(`${name} is begun again once, and then the node goes back`, async () => {
      for (const times of restarts) {
        const expected = times < 1 ? { kind: 'redo', from: name } : { kind: 'roll_back', interrupted: name };
        assert.deepEqual(await recovery([...upTo(name), ...repeated(resumed('job', name), times)]), expected);
      }
    });
  }

  test('a wait for a person goes on, however often the agent died', async () => {
    for (const times of restarts) {
      const records = [...upTo('await_start'), ...repeated(resumed('job', 'await_start'), times)];
      assert.deepEqual(await recovery(records), { kind: 'redo', from: 'await_start' });
    }
  });

  test('migrate is never begun again', async () => {
    for (const times of restarts) {
      const records = [...upTo('migrate'), ...repeated(resumed('job', 'migrate'), times)];
      assert.deepEqual(await recovery(records), { kind: 'roll_back', interrupted: 'migrate' });
    }
  });

  test('a restart in an earlier step does not count for a later one', async () => {
    const records = [...upTo('stop'), ...repeated(resumed('job', 'stop'), 5), step('job', 'stop', 'backup')];
    assert.deepEqual(await recovery(records), { kind: 'redo', from: 'backup' });
  });

  for (const name of ['commit', 'leave_maintenance']) {
    test(`${name} is after the commit: it is finished, unless the agent died in it again and again`, async () => {
      for (const times of restarts) {
        const records = [...upTo(name), ...repeated(resumed('job', name), times)];
        const expected = isOnwardTooOften(times)
          ? { kind: 'give_up', at: name }
          : { kind: 'finish', from: name };
        assert.deepEqual(await recovery(records), expected);
      }
    });
  }

  test('a committed job is finished whatever its last step says of restarts', async () => {
    for (const name of forwardSteps) {
      const job = await jobOf(upTo(name));
      assert.ok(job);
      for (const says of ['redo', 'roll_back'] as const) {
        const answer = recoveryOf({ ...job, committed: true, resumed: 3 }, () => says);
        assert.deepEqual(answer, { kind: 'finish', from: name });
      }
    }
  });

  for (const failed of beforeCommit) {
    test(`a job that goes back because of ${failed} goes on with that, unless the agent died in one step again and again`, async () => {
      for (const first of backSteps) {
        for (const times of restarts) {
          const records = [
            ...upTo(failed),
            goingBack('job', failed, first),
            ...repeated(resumed('job', first), times),
          ];
          const expected = isOnwardTooOften(times)
            ? { kind: 'give_up', at: first }
            : { kind: 'go_on_back', from: first };
          assert.deepEqual(await recovery(records), expected);
        }
        const further = [...upTo(failed), goingBack('job', failed, first), step('job', first, 'probe_old')];
        assert.deepEqual(await recovery(further), { kind: 'go_on_back', from: 'probe_old' });
      }
    });
  }
});
