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
import { saysHowTheNodeIs } from '../takeover/failed-job.js';
import { ownByHand, startByHandStep } from './acts.js';

/** From the first of these on, the new release may run: links and data are of one version. */
const startSteps = ['apply', 'await_start', 'probe', 'test', 'commit', 'leave_maintenance'];
/** The same for the old release, on the way back. */
const startBackSteps = ['start_old', 'probe_old', 'leave_maintenance_back'];
/** Going back failed where nothing was begun yet, or where all was back already. */
const consistentFailures = [
  'stop_new',
  'stop_by_hand',
  ...startBackSteps,
  startByHandStep,
  'leave_maintenance',
  'commit',
];

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
  return whyEndedJobWaits(config.node, journal.list().findLast(saysHowTheNodeIs));
}

/** Pure. @param current the folder under releases/ that would be started; null: none */
export function whyOpenJobWaits(node: string, open: Job, current: string | null): string | undefined {
  const { step: order } = Command.fromJSON(open.command);
  const isByHand = ownByHand(open) !== undefined;
  if (!isByHand && order?.$case !== 'upgrade') return undefined;
  const step = (open.goingBack?.begun ?? open.begun).at(-1) ?? '';
  const isBack = open.goingBack !== undefined;
  const belongs = isBack ? open.facts.folderBefore : open.facts.folderAfter;
  const steps = isByHand
    ? [startByHandStep, 'as_it_is', 'maintenance_off_by_hand']
    : isBack
      ? startBackSteps
      : startSteps;
  if (steps.includes(step) && current === belongs) return undefined;
  return `${node}: ${open.commandId} is at ${step}, and the service must be down until it says otherwise; plexi-node-agent starts it, or see plexi-node-agent status`;
}

/** Pure. After a rollback that failed half-way nobody knows whether data and release belong together. */
export function whyEndedJobWaits(node: string, last: Job | undefined): string | undefined {
  const result = last?.result;
  if (result?.outcome !== 'rollback_failed' || consistentFailures.includes(result.failedStep))
    return undefined;
  return `${node}: going back failed at ${result.failedStep}, so data and release may not belong together; see plexi-node-agent status for what to do`;
}

/** @throws PlexiError BUSY with the sentence, when the service must wait */
export async function assertMayStart(config: NodeAgentConfig): Promise<void> {
  const why = await whyWait(config);
  if (why !== undefined) throw new PlexiError('BUSY', why);
}
