/**
 * Who took the node out of service: an operator, or a job that failed and left it so. The record of
 * maintenance does not say; the journal does, because every job notes how it found the node.
 */
import { Command, type UpgradeStep } from '../../gen/plexi/v1/node_agent.js';
import type { Job } from '../journal/journal.js';

/**
 * The upgrade that took the node out of service and could not put it back; undefined when it was an
 * operator, or when the journal does not know. Pure.
 * @param jobs all that the journal holds, oldest first
 */
export function leftInMaintenanceBy(jobs: readonly Job[]): UpgradeStep | undefined {
  for (const { command, facts, result } of jobs.toReversed()) {
    const { step } = Command.fromJSON(command);
    if (step?.$case === 'maintenance' && (step.value.on || result?.outcome === 'done')) return undefined;
    if (step?.$case !== 'upgrade' || facts.wasInMaintenance) continue;
    const isLeft = result?.outcome === 'rollback_failed' || result?.outcome === 'failed';
    return isLeft ? step.value : undefined;
  }
  return undefined;
}
