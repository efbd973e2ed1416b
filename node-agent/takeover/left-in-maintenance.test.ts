/** By its journal a node knows who took it out of service: an operator, or a job that failed. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Command } from '../../gen/plexi/v1/node_agent.js';
import { maintenanceOffStep } from '../by-hand/acts.js';
import type { Job } from '../journal/journal.js';
import type { JobResult } from '../journal/records.js';
import { leftInMaintenanceBy } from './left-in-maintenance.js';

type Outcome = JobResult['outcome'];

function job(step: Command['step'], outcome: Outcome, wasInMaintenance = false): Job {
  const rest = { failure: null, failedStep: '', release: { version: '0a1', digest: '' }, timings: [] };
  return {
    ...{ commandId: 'job', payloadHash: '', begun: ['stop'], committed: false, resumed: 0, records: [] },
    command: { ...Object(Command.toJSON(Command.fromPartial({ commandId: 'job', step }))) },
    token: { epoch: '1', term: '1', seq: '1' },
    goingBack: undefined,
    facts: { wasInMaintenance, folderBefore: null, previousBefore: null, folderAfter: null, backupId: '' },
    result: { outcome, backupId: '', ...rest },
  };
}

const upgrade = (outcome: Outcome, wasInMaintenance = false): Job =>
  job(
    Command.fromPartial({ step: { $case: 'upgrade', value: { maintenanceHooks: true } } }).step,
    outcome,
    wasInMaintenance,
  );
const byHand = (on: boolean, outcome: Outcome = 'done'): Job =>
  job(Command.fromPartial({ step: { $case: 'maintenance', value: { on } } }).step, outcome);
/** What somebody said on the node itself. */
const onTheNode = (begun: string, outcome: Outcome, wasInMaintenance = false): Job => ({
  ...job(undefined, outcome, wasInMaintenance),
  command: {},
  begun: [begun],
  byHand: { act: { word: 'maintenance_off' }, by: 'root', reason: 'x', setAside: [] } as Job['byHand'],
});
const confirmed = (outcome: Outcome): Job =>
  job(Command.fromPartial({ step: { $case: 'takeOver', value: { confirm: true } } }).step, outcome, true);

describe('a node was left in maintenance', () => {
  const byJob: [string, Job[]][] = [
    ['by a rollback that failed', [upgrade('done'), upgrade('rollback_failed')]],
    ['by an upgrade that could not put it back', [byHand(true), byHand(false), upgrade('failed')]],
    ['by a job before a confirmation that failed', [upgrade('rollback_failed'), confirmed('failed')]],
    ['by a job before another that found it so', [upgrade('rollback_failed'), upgrade('rolled_back', true)]],
    ['by a word on the node that failed', [upgrade('done'), onTheNode('probe_by_hand', 'rollback_failed')]],
    [
      'by a job, and putting it back on the node failed',
      [upgrade('rollback_failed'), onTheNode(maintenanceOffStep, 'failed', true)],
    ],
    ['by a job, and putting it back by hand failed', [upgrade('rollback_failed'), byHand(false, 'failed')]],
  ];
  for (const [name, jobs] of byJob) {
    test(name, () => assert.equal(leftInMaintenanceBy(jobs)?.maintenanceHooks, true));
  }
  const byOperator: [string, Job[]][] = [
    ['by nobody that the journal knows', []],
    ['by an operator', [upgrade('rollback_failed'), byHand(true)]],
    ['by an operator whose hook failed', [byHand(true, 'failed')]],
    ['by an operator before a job that failed', [byHand(true), upgrade('rollback_failed', true)]],
    [
      'by somebody, after it was put back on the node',
      [upgrade('rollback_failed'), onTheNode(maintenanceOffStep, 'done', true)],
    ],
    ['by somebody, after a job that put it back', [upgrade('rolled_back')]],
  ];
  for (const [name, jobs] of byOperator) {
    test(name, () => assert.equal(leftInMaintenanceBy(jobs), undefined));
  }
});
