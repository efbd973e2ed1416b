/**
 * The end of a command is entered into the world: of one that the rollout gave, or of one that an operator
 * gave outside of it. A late end, or one of another command, changes nothing.
 */
import { heldBy } from './budget.js';
import { settle, strand, viewOf, withNode, withView } from './change.js';
import type { CommandOutcome } from './events.js';
import { failMaintenance, finishMaintenance } from './manual.js';
import { failOrder, finishOrder, forgetStranded } from './orders.js';
import { type EndedCommand, openCommand, type RolloutCommand, type RolloutNode } from './rollout.js';
import type { World } from './world.js';

/** The node that works on this command for the rollout; undefined when none does, or no longer. */
export function workingOn(
  world: World,
  id: string,
  commandId: string,
): { node: RolloutNode; command: RolloutCommand } | undefined {
  const node = world.rollout?.nodes.get(id);
  const command = node && openCommand(node.state);
  if (node === undefined || command?.id !== commandId) return undefined;
  return { node, command };
}

/** What a node says of the end of a command. */
export function takeResult(
  world: World,
  id: string,
  commandId: string,
  outcome: CommandOutcome,
  nowMs: number,
): World {
  const freed = viewOf(world, id).inFlight === commandId ? withView(world, id, { inFlight: null }) : world;
  const byHand = takeOperatorsEnd(freed, id, commandId, outcome, nowMs);
  if (byHand !== freed) return byHand;
  const working = workingOn(freed, id, commandId);
  if (working === undefined) return freed;
  const { node, command } = working;
  switch (command.kind) {
    case 'preflight':
    case 'stage':
      return takeCheck(freed, node, command, outcome, nowMs);
    case 'upgrade':
    case 'roll_back':
      return takeUpgradeEnd(freed, node, command, outcome, nowMs);
    case 'revert':
      return takeRevertEnd(freed, node, command, outcome, nowMs);
  }
}

/** The end of a command that an operator gave outside of a rollout; the same world when it was none. */
function takeOperatorsEnd(
  world: World,
  id: string,
  commandId: string,
  outcome: CommandOutcome,
  nowMs: number,
): World {
  if (outcome.outcome !== 'done') {
    const { message } = faultOf(outcome);
    return failOrder(failMaintenance(world, id, commandId, message), id, commandId, message);
  }
  const finished = finishOrder(world, id, commandId, outcome, nowMs);
  if (finished !== world) return forgetStranded(finished, id, outcome.release, nowMs);
  return finishMaintenance(world, id, commandId);
}

function takeCheck(
  world: World,
  node: RolloutNode,
  command: RolloutCommand,
  outcome: CommandOutcome,
  nowMs: number,
): World {
  const passed = outcome.outcome === 'done';
  const ended = endOf(command, outcome);
  if (passed && command.kind === 'stage')
    return withNode(world, node.id, { state: { phase: 'ready' }, ended }, nowMs);
  const checked = node.checked || passed;
  const error = passed ? null : faultOf(outcome);
  return withNode(world, node.id, { state: { phase: 'pending' }, ended, checked, error }, nowMs);
}

function takeUpgradeEnd(
  world: World,
  node: RolloutNode,
  command: RolloutCommand,
  outcome: CommandOutcome,
  nowMs: number,
): World {
  const { release, backupId } = outcome;
  const ended = endOf(command, outcome);
  switch (outcome.outcome) {
    case 'done': {
      const soaking = { state: { phase: 'soaking' }, ended, release, backupId, error: null } as const;
      return withNode(
        withView(world, node.id, { goodForMs: 0, health: 'unknown', release }),
        node.id,
        soaking,
        nowMs,
      );
    }
    case 'rolled_back':
      return settle(
        world,
        node.id,
        { state: { phase: 'rolled_back' }, ended, release, backupId, error: faultOf(outcome) },
        nowMs,
      );
    case 'failed':
      // Refused before anything was touched, or committed and unable to leave maintenance.
      return outcome.failedStep === '' && command.kind === 'upgrade'
        ? settleUntouched(world, node, ended, outcome, nowMs)
        : strand(world, node, faultOf(outcome), nowMs, ended);
    case 'rollback_failed':
      return strand(world, node, faultOf(outcome), nowMs, ended);
  }
}

/** Where this slot was its first, the node has never been out of service because of the rollout. */
function settleUntouched(
  world: World,
  node: RolloutNode,
  ended: EndedCommand,
  outcome: CommandOutcome,
  nowMs: number,
): World {
  const isFirst = heldBy(world.slots, node.id)?.slot.sinceMs === node.outSinceMs;
  const outSinceMs = isFirst ? null : node.outSinceMs;
  const error = faultOf(outcome);
  return settle(world, node.id, { state: { phase: 'rolled_back' }, ended, outSinceMs, error }, nowMs);
}

function takeRevertEnd(
  world: World,
  node: RolloutNode,
  command: RolloutCommand,
  outcome: CommandOutcome,
  nowMs: number,
): World {
  const ended = endOf(command, outcome);
  if (outcome.outcome === 'done') {
    const { release } = outcome;
    return settle(world, node.id, { state: { phase: 'rolled_back' }, ended, release }, nowMs);
  }
  const { message } = faultOf(outcome);
  return strand(
    world,
    node,
    { code: 'ROLLBACK_FAILED', message: `it could not be taken back: ${message}` },
    nowMs,
    ended,
  );
}

function endOf({ id }: RolloutCommand, { outcome }: CommandOutcome): EndedCommand {
  return { commandId: id, outcome };
}

function faultOf(outcome: CommandOutcome) {
  const fault = outcome.failure ?? { code: 'INTERNAL', message: 'the node gave no reason' };
  const at =
    outcome.failedStep === '' || outcome.failedStep === 'preflight' || outcome.failedStep === 'stage'
      ? ''
      : `at ${outcome.failedStep}: `;
  return { code: fault.code, message: `${at}${fault.message}` };
}
