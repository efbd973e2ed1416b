/**
 * A node that asks for an operator is out of service (semantics S10), whichever write was refused on the way
 * there. Leaving maintenance removes its record before the journal can say how the job ended, so a job may fail
 * between the two; then the node is taken out again: in the agent's memory first, then on the disk as far as
 * that allows, and by the hook. The next start of the agent does the same, should the disk have forgotten it.
 */
import { limits } from '../../config/limits.js';
import { Command } from '../../gen/plexi/v1/node_agent.js';
import { ownByHand } from '../by-hand/acts.js';
import type { Job } from '../journal/journal.js';
import { type AgentNode, linkedFolder, localRelease } from '../node.js';
import { enterMaintenanceStep, hookRun } from './maintenance.js';

/**
 * Takes the node out of service, or keeps it there, because a job of it asks for an operator. Does nothing on
 * one that is out already as a whole, and was not about to be put back. Never throws: what is refused is logged, and then
 * the agent at least says that the node is out.
 */
export async function holdOut(node: AgentNode, job: Job, reason: string): Promise<void> {
  const { maintenance, log } = node;
  const isWhole = !maintenance.isLeaving && !isHalfOut(node, job);
  if (maintenance.current !== undefined && isWhole) return;
  const { commandId } = job;
  const refused = (err: unknown): void =>
    log.error({ commandId, err }, 'the node could not be taken out of service as a whole');
  log.warn({ commandId }, `out of service: ${reason}`);
  try {
    const release = await localRelease(node.paths, await linkedFolder(node.paths.current)).catch(refused);
    const timeoutMs = limits.holdHookMs;
    const bounds = { commandId, timeoutMs, signal: AbortSignal.timeout(timeoutMs) };
    await maintenance.hold({
      ...hookRun(node, release ?? undefined, bounds),
      reason,
      since: node.clock.wall().toISOString(),
      withHooks: usesHooks(job),
      refused,
    });
  } catch (thrown) {
    refused(thrown);
  }
}

/** Whether the record stands and the hook may not have run; an agent that was restarted knows it by the journal. */
function isHalfOut({ maintenance }: AgentNode, { begun }: Job): boolean {
  return maintenance.isEntering || begun.at(-1) === enterMaintenanceStep.step;
}

/** Whether a job that cannot be carried on may leave the node in service: one that takes nothing out of it. */
export function staysInService(job: Job): boolean {
  const { step } = Command.fromJSON(job.command);
  return ownByHand(job) !== undefined || step?.$case === 'takeOver';
}

/** An upgrade says whether; what is said to a node by hand uses them. */
function usesHooks({ command }: Job): boolean {
  const { step } = Command.fromJSON(command);
  return step?.$case !== 'upgrade' || step.value.maintenanceHooks;
}
