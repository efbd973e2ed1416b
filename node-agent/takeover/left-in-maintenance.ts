/**
 * Who took the node out of service: an operator, or a job that failed and left it so. The record of
 * maintenance does not say; the journal does, because every job notes how it found the node.
 */
import { Command } from '../../gen/plexi/v1/node_agent.js';
import { maintenanceOffStep, ownByHand } from '../by-hand/acts.js';
import type { Job } from '../journal/journal.js';

/**
 * How the job goes about it that took the node out of service and could not put it back: an upgrade, or what
 * somebody said on the node; undefined when an operator has it out, or when the journal does not know. Pure.
 * @param jobs all that the journal holds, oldest first
 */
export function leftInMaintenanceBy(
  jobs: readonly Job[],
): { readonly maintenanceHooks: boolean } | undefined {
  for (const job of jobs.toReversed()) {
    const { step } = Command.fromJSON(job.command);
    const outcome = job.result?.outcome;
    if (step?.$case === 'maintenance' && (step.value.on || outcome === 'done')) return undefined;
    if (job.begun[0] === maintenanceOffStep && outcome === 'done') return undefined;
    const isOwn = ownByHand(job) !== undefined;
    if ((step?.$case !== 'upgrade' && !isOwn) || job.facts.wasInMaintenance) continue;
    const isLeft = outcome === 'rollback_failed' || outcome === 'failed';
    return isLeft
      ? { maintenanceHooks: step?.$case !== 'upgrade' || step.value.maintenanceHooks }
      : undefined;
  }
  return undefined;
}
