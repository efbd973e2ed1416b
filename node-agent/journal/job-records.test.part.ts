/** Records of made-up jobs, as short as a test can be read with. */
import type { Journal } from './journal.js';
import type { JobFacts, JobResult, NewRecord } from './records.js';

export const facts: JobFacts = {
  wasInMaintenance: false,
  folderBefore: '0a1-aaaaaaaaaaaa',
  previousBefore: null,
  folderAfter: '0b1-bbbbbbbbbbbb',
  backupId: 'job-1',
};

export const result: JobResult = {
  outcome: 'done',
  failure: null,
  failedStep: '',
  release: { version: '0b1', digest: 'b'.repeat(64) },
  timings: [{ step: 'stop', durationMs: 7 }],
  backupId: 'job-1',
};

export function accepted(commandId: string, step = 'enter_maintenance'): NewRecord {
  return {
    kind: 'accepted',
    commandId,
    command: { commandId, rolloutId: 'update_0a1_0b1' },
    payloadHash: `hash of ${commandId}`,
    token: { epoch: '1', term: '18446744073709551615', seq: '3' },
    step,
    facts,
  };
}

export function step(commandId: string, done: string, next: string): NewRecord {
  return { kind: 'step', commandId, done, step: next, committed: next === 'commit' };
}

export function goingBack(commandId: string, failedStep: string, next: string): NewRecord {
  const failure = { code: 'PROBE_FAILED', message: 'it did not get healthy' };
  return { kind: 'going_back', commandId, failure, failedStep, step: next };
}

export function resumed(commandId: string, at: string): NewRecord {
  return { kind: 'resumed', commandId, step: at };
}

export function finished(commandId: string): NewRecord {
  return { kind: 'finished', commandId, result };
}

/** Appends in order. */
export async function appendAll(journal: Journal, records: readonly NewRecord[]): Promise<void> {
  for (const record of records) await journal.append(record);
}

/** A whole job of three records. */
export function wholeJob(commandId: string): NewRecord[] {
  return [accepted(commandId), step(commandId, 'enter_maintenance', 'stop'), finished(commandId)];
}
