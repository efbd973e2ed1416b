/**
 * `plexi-node-agent may-start`, for the service's own unit: may what `current` leads to be started now?
 * Read from the disk, so it needs neither the agent nor a controller (protocol, rules 10 and 11). Invariant:
 * no init system starts old code on migrated data, nor new code on data that is half taken back.
 */
import { asPlexiError, PlexiError } from '../../config/errors.js';
import type { NodeAgentConfig } from '../../config/schema/node-agent.js';
import { Command } from '../../gen/plexi/v1/node_agent.js';
import { type Job, Journal } from '../journal/journal.js';
import { linkedFolder, nodePaths } from '../node.js';
import { journalDisk } from '../state-disk.js';
import { leftUntouched, saysHowTheNodeIs } from '../takeover/failed-job.js';
import { asItIsStep, maintenanceOffStep, ownByHand, probeByHandStep, startByHandStep } from './acts.js';

/** From the first of these on, the new release may run: links and data are of one version. */
const startSteps = ['apply', 'await_start', 'probe', 'test', 'commit', 'leave_maintenance'];
/** The same for the old release, on the way back. */
const startBackSteps = ['start_old', 'probe_old', 'leave_maintenance_back'];
/** The same for what a word on the node leads to. */
const startByHandSteps = [startByHandStep, probeByHandStep, asItIsStep, maintenanceOffStep];

/** Where going back failed, and the data is of the release that the job went to. */
const dataOfNew = [...startSteps, 'stop_new', 'switch_by_hand', ...startByHandSteps];
/** Where going back failed, and the data is of the release before the job, or is so again. */
const dataOfOld = ['switch_back', ...startBackSteps];

/** Why the service must wait; undefined when it may start. */
export async function whyWait(config: NodeAgentConfig): Promise<string | undefined> {
  const paths = nodePaths(config.root);
  let journal: Journal;
  let current: string | null;
  try {
    journal = await Journal.open(journalDisk(paths.journal), () => new Date());
    current = (await linkedFolder(paths.current)) ?? null;
  } catch (thrown) {
    return asPlexiError(thrown, 'JOURNAL_UNREADABLE', `${config.node}: the journal cannot be opened`).message;
  }
  const open = journal.open();
  if (open !== undefined) return whyOpenJobWaits(config.node, open, current);
  return whyEndedJobsWait(config.node, journal.list(), current);
}

/** Pure. @param current the folder under releases/ that would be started; null: none */
export function whyOpenJobWaits(node: string, open: Job, current: string | null): string | undefined {
  const { step: order } = Command.fromJSON(open.command);
  const isByHand = ownByHand(open) !== undefined;
  if (!isByHand && order?.$case !== 'upgrade') return undefined;
  const step = (open.goingBack?.begun ?? open.begun).at(-1) ?? '';
  const isBack = open.goingBack !== undefined;
  const belongs = isBack ? open.facts.folderBefore : open.facts.folderAfter;
  const steps = isByHand ? startByHandSteps : isBack ? startBackSteps : startSteps;
  if (steps.includes(step) && current === belongs) return undefined;
  return `${node}: ${open.commandId} is at ${step}, and the service must be down until it says otherwise; plexi-node-agent starts it, or see plexi-node-agent status`;
}

/**
 * Pure. After a rollback that failed, what may be started is what belongs to the data; half-way nobody knows.
 * @param jobs all that the journal holds, oldest first; none is open
 * @param current the folder under releases/ that would be started; null: none
 */
export function whyEndedJobsWait(
  node: string,
  jobs: readonly Job[],
  current: string | null,
): string | undefined {
  const last = jobs.findLast((job) => saysHowTheNodeIs(job) && !leftUntouched(job));
  const result = last?.result;
  if (last === undefined || result?.outcome !== 'rollback_failed') return undefined;
  if (foldersOfData(last, result.failedStep).includes(current)) return undefined;
  return `${node}: going back failed at ${result.failedStep}, so data and release may not belong together; see plexi-node-agent status for what to do`;
}

/** The releases that can run on the data as it is; none where the data is half changed. */
function foldersOfData({ facts, byHand }: Job, failedStep: string): (string | null)[] {
  // No migration lies between the two that it switches.
  if (byHand?.act.word === 'rollback') return [facts.folderBefore, facts.folderAfter];
  if (dataOfNew.includes(failedStep)) return [facts.folderAfter];
  return dataOfOld.includes(failedStep) ? [facts.folderBefore] : [];
}

/** @throws PlexiError BUSY with the sentence, when the service must wait */
export async function assertMayStart(config: NodeAgentConfig): Promise<void> {
  const why = await whyWait(config);
  if (why !== undefined) throw new PlexiError('BUSY', why);
}
