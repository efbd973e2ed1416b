/**
 * What a node says of itself on the node: put together from journal, fence, links and maintenance, by the
 * running agent or, when none runs, by the program that was asked. It changes nothing.
 */
import { ownVersion } from '../../config/own-version.js';
import { type Fence, printToken } from '../api/fence.js';
import type { Job, Journal } from '../journal/journal.js';
import { type AgentNode, currentRelease, linkedFolder } from '../node.js';
import { failedJobTrouble, saysHowTheNodeIs } from '../takeover/failed-job.js';
import { unknownStepOf } from '../upgrade/known-steps.js';
import { rollBackPhases, upgradePhases } from '../upgrade/phases.js';
import { startByHandStep } from './acts.js';
import type { NodeDocument } from './requests.js';
import { canBeTakenBack, waitsForStart } from './take-back.js';

export interface StatusParts {
  readonly node: Pick<AgentNode, 'config' | 'paths' | 'service' | 'maintenance'>;
  /** Undefined when it cannot be read. */
  readonly journal: Pick<Journal, 'list'> | undefined;
  readonly fence: Pick<Fence, 'current'>;
  readonly agentRuns: boolean;
  readonly needsOperator: { code: string; message: string } | undefined;
}

/** The whole document. */
export async function nodeDocumentOf(parts: StatusParts): Promise<NodeDocument> {
  const { node, journal, fence, agentRuns, needsOperator } = parts;
  const { config, paths, maintenance } = node;
  const last = journal?.list().at(-1);
  const serviceRuns = await node.service.isRunning().catch(() => null);
  return {
    node: config.node,
    agentVersion: ownVersion,
    agentRuns,
    release: await currentRelease(paths),
    current: (await linkedFolder(paths.current)) ?? null,
    previous: (await linkedFolder(paths.previous)) ?? null,
    serviceRuns,
    maintenance: maintenance.current ?? null,
    job: last === undefined ? null : jobDocument(last),
    fence: fence.current === undefined ? null : printToken(fence.current.token),
    // Said anew, because the sentence of an error is lost when the error is sent as JSON.
    needsOperator:
      needsOperator === undefined ? null : { code: needsOperator.code, message: needsOperator.message },
    next: nextWord(parts, last, serviceRuns) ?? null,
  };
}

function jobDocument(job: Job): NodeDocument['job'] {
  return {
    commandId: job.commandId,
    rollout: typeof job.command.rolloutId === 'string' ? job.command.rolloutId : '',
    step: (job.goingBack?.begun ?? job.begun).at(-1) ?? '',
    state: job.result?.outcome ?? 'open',
    committed: job.committed,
    goingBack: job.goingBack !== undefined,
    backupId: backupMadeBy(job),
    byHand: job.byHand === undefined ? null : { by: job.byHand.by, reason: job.byHand.reason },
  };
}

/** The backup of a job, once it is whole: the step after it was begun. */
export function backupMadeBy({ begun, facts }: Job): string {
  return begun.some((step) => ['migrate', 'apply', startByHandStep].includes(step)) ? facts.backupId : '';
}

const program = 'plexi-node-agent';
const asItIs = `${program} restore --as-it-is --reason TEXT`;

/** Data and release belong together; only what went wrong beside them is left. */
function asItIsAndBack({ maintenance }: StatusParts['node']): string {
  return maintenance.current === undefined
    ? asItIs
    : `${asItIs}, then ${program} maintenance off --reason TEXT`;
}

/** Whether the node asks because of a job that failed behind its commit: its data must not be taken back. */
function isOfCommittedJob(
  { message }: { message: string },
  jobs: readonly Job[],
  node: StatusParts['node'],
): boolean {
  const isFailed = jobs.findLast(saysHowTheNodeIs)?.result?.outcome === 'failed';
  return isFailed && failedJobTrouble(jobs, node)?.message === message;
}

const everyPhase = [...upgradePhases, ...rollBackPhases];

function restoreWord(last: Job | undefined): string {
  const backup = last === undefined ? '' : backupMadeBy(last);
  return `${program} restore ${backup === '' ? '--backup ID' : `--backup ${backup}`} --reason TEXT`;
}

function wordBesideOpenJob(open: Job, agentRuns: boolean, serviceRuns: boolean | null): string {
  const foreign = unknownStepOf(open, everyPhase);
  if (foreign !== undefined)
    return `start the agent that began the step ${foreign}, which this one does not know; or ${restoreWord(open)}`;
  const isAwaited = waitsForStart(open) && serviceRuns !== true;
  const takesUp = `start ${program}: it takes up what is open`;
  if (!agentRuns) return isAwaited ? `${takesUp}, and waits for ${program} start` : takesUp;
  const back = `${program} rollback --reason TEXT`;
  if (isAwaited) return `${program} start, for which the upgrade waits, or ${back}`;
  return canBeTakenBack(open) ? `${back}, or wait for its end` : 'wait for its end';
}

/** What an operator types next; undefined: nothing has to be done. */
function nextWord(
  { node, journal, agentRuns, needsOperator }: StatusParts,
  last: Job | undefined,
  serviceRuns: boolean | null,
): string | undefined {
  const restore = restoreWord(last);
  if (needsOperator !== undefined) {
    if (isOfCommittedJob(needsOperator, journal?.list() ?? [], node)) return asItIsAndBack(node);
    switch (needsOperator.code) {
      case 'INTERNAL':
        return `remove the cause (a full disk, for example), then start ${program} again: it takes up what is open`;
      case 'COMMAND_LEFT_RUNNING':
        return `end what an agent has left running, then start ${program} again: it takes up what is open`;
      case 'FENCE_UNREADABLE':
      case 'CONFIG_INVALID':
      case 'STOP_FAILED':
        return asItIs;
      case 'STORE_INVALID':
        return asItIsAndBack(node);
      case 'BACKUP_INVALID':
        return `put the right key file back, or move it away, then start ${program} again`;
      default:
        return `${restore}, or when data and release are right as they are: ${asItIs}`;
    }
  }
  if (last !== undefined && last.result === undefined) return wordBesideOpenJob(last, agentRuns, serviceRuns);
  if (node.maintenance.current !== undefined) return `${program} maintenance off --reason TEXT`;
  return agentRuns ? undefined : `start ${program}`;
}
