/**
 * What a job that came to no good end leaves behind: a node that asks for an operator. Invariant: it asks
 * until an upgrade came to a good end, or an operator confirmed what runs. Maintenance by hand puts nothing
 * right, however it ends, and a taking over that failed has changed nothing.
 */
import { type ErrorCode, isErrorCode, PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import { Command } from '../../gen/plexi/v1/node_agent.js';
import { maintenanceOffStep } from '../by-hand/acts.js';
import type { Job } from '../journal/journal.js';
import type { JobResult } from '../journal/records.js';
import type { AgentNode } from '../node.js';
import { takeOverStep } from './take-over.js';

/** The one step of maintenance by hand, as its job's intent names it. */
const maintenanceStep = 'maintenance';

/**
 * Why the last job asks for an operator; undefined when it does not.
 * @param jobs all that the journal holds, oldest first
 */
export function failedJobTrouble(
  jobs: readonly Job[],
  { config, maintenance }: Pick<AgentNode, 'config' | 'maintenance'>,
): { code: ErrorCode; message: string } | undefined {
  const last = jobs.findLast(saysHowTheNodeIs);
  const result = last && askingEnd(last);
  if (result === undefined) return undefined;
  const how =
    maintenance.current === undefined
      ? 'was put back into service, and nobody has confirmed what runs there since a job failed'
      : 'stays in maintenance';
  return {
    code: codeOf(result),
    message: `${config.node} ${how}: ${result.failure?.message ?? 'a job failed, and did not say why'}`,
  };
}

/**
 * The job for whose sake the node must be out of service; undefined when there is none, or when somebody has
 * put the node back since. Pure.
 * @param jobs all that the journal holds, oldest first
 */
export function heldFor(jobs: readonly Job[]): Job | undefined {
  for (const job of jobs.toReversed()) {
    if (isPuttingBack(job)) return undefined;
    if (saysHowTheNodeIs(job)) return asksForOperator(job) ? job : undefined;
  }
  return undefined;
}

/**
 * How many jobs, the last ones, must stay in the journal for it to say why the node asks, and what may be started
 * there meanwhile; 0 when it does not ask. Pure.
 * @param jobs all that the journal holds, oldest first; none is open
 */
export function jobsThatTell(jobs: readonly Job[]): number {
  const asking = jobs.findLastIndex(saysHowTheNodeIs);
  const job = jobs[asking];
  if (job === undefined || !asksForOperator(job)) return 0;
  const telling = jobs.findLastIndex((one) => saysHowTheNodeIs(one) && !leftUntouched(one));
  return jobs.length - (jobs[telling]?.result?.outcome === 'rollback_failed' ? telling : asking);
}

/**
 * Refuses one more job behind the one because of which the node asks: those stay, so they must not go on for ever.
 * What may put the node right is let in for longer than what never does.
 * @throws PlexiError LIMIT_EXCEEDED
 */
export function refuseEndlessJobs(node: string, jobs: readonly Job[], mayPutRight: boolean): void {
  const told = jobsThatTell(jobs);
  if (told < (mayPutRight ? limits.journalJobsToPutRight : limits.journalJobsAsking)) return;
  throw new PlexiError(
    'LIMIT_EXCEEDED',
    `${node} asks for an operator, and ${told} jobs since then have not put it right; say plexi-node-agent restore on it, which plexi-node-agent status there says more about`,
  );
}

/** Steps in which neither data nor links are changed: one that failed says nothing about them. */
const untouched = ['enter_maintenance', 'stop', 'backup', 'stop_by_hand'];

/** A job that failed before it changed anything: how data and release are, was said before it. */
export function leftUntouched({ result }: Pick<Job, 'result'>): boolean {
  return result?.outcome === 'rollback_failed' && untouched.includes(result.failedStep);
}

/** Whether the node asks for an operator because of how this job ended. */
export function asksForOperator(job: Pick<Job, 'begun' | 'result'>): boolean {
  return saysHowTheNodeIs(job) && askingEnd(job) !== undefined;
}

function askingEnd({ result }: Pick<Job, 'result'>): JobResult | undefined {
  return result?.outcome === 'rollback_failed' || result?.outcome === 'failed' ? result : undefined;
}

/** Somebody said that the node is to serve, and it did. */
function isPuttingBack({ begun: [first], command, result }: Job): boolean {
  if (result?.outcome !== 'done') return false;
  const { step } = Command.fromJSON(command);
  return first === maintenanceOffStep || (step?.$case === 'maintenance' && !step.value.on);
}

/** What failed after the commit is no failed rollback, and calls for other words: nothing has gone back. */
function codeOf({ outcome, failure }: JobResult): ErrorCode {
  if (outcome === 'rollback_failed') return 'ROLLBACK_FAILED';
  return failure !== null && isErrorCode(failure.code) ? failure.code : 'INTERNAL';
}

/** Jobs of one step leave the node as it was, its troubles included; but for a taking over that is done. */
export function saysHowTheNodeIs({ begun: [first], result }: Pick<Job, 'begun' | 'result'>): boolean {
  if (first === maintenanceStep || first === maintenanceOffStep) return false;
  return first !== takeOverStep || result?.outcome !== 'failed';
}
