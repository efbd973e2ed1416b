/**
 * Where the rollout goes next, one decision at a time. The parent looks at the course (forward,
 * paused, aborting, back) and then at the phase; each leaf makes one step and returns the world
 * unchanged when there is none to make.
 */
import { isStuck, stuckCount, withConfiguredBudget } from './budget.js';
import {
  bounded,
  givenUp,
  movedTo,
  nextCommand,
  nodesInOrder,
  takeSlot,
  viewOf,
  withCommand,
  withNode,
  withNodes,
  withRollout,
} from './change.js';
import { end, endIfSettled, finalize } from './ends.js';
import { settleOrders } from './orders.js';
import { settleRecovery } from './recovery.js';
import { stepAborting, stepBack } from './rollback.js';
import {
  type Course,
  type FailedNode,
  type FinalPhase,
  hasFailed,
  isFinal,
  openCommand,
  type Rollout,
  type RolloutNode,
  type RolloutPhase,
  targetVersion,
} from './rollout.js';
import { silentForMs } from './silence.js';
import { settleLost, settleSoaking } from './soak.js';
import { isOnlyStuckInTheWay, isSettled, nextToStart } from './starts.js';
import { type ActiveWorld, isActive, type World } from './world.js';

type PausedCourse = Extract<Course, { kind: 'paused' }>;

/** One decision; the same world when there is nothing to decide. */
export function decide(world: World, nowMs: number): World {
  const recovered = settleRecovery(world);
  if (recovered !== world) return recovered;
  const orders = settleOrders(world, nowMs);
  if (orders !== world) return orders;
  if (!isActive(world)) return withConfiguredBudget(world);
  const { rollout } = world;
  const { phase, course } = rollout;
  if (isFinal(phase)) return world;
  const settled = settleLost(settleSoaking(world, rollout, nowMs), rollout, nowMs);
  if (settled !== world) return settled;
  switch (course.kind) {
    case 'forward':
      return stepForward(world, rollout, phase, nowMs);
    case 'paused':
      return stepPaused(world, rollout, course);
    case 'called_off':
      return end(world, 'aborted', course.reason, 3, nowMs);
    case 'aborting':
      return stepAborting(world, rollout, course.reason, nowMs);
    case 'back':
      return stepBack(world, rollout, course.reason, nowMs);
  }
}

/** What fails in a pause is told with what it was paused for: who resumes puts all of it aside. */
function stepPaused(world: ActiveWorld, rollout: Rollout, course: PausedCourse): World {
  if (course.by !== 'failure') return enter(world, rollout, 'paused', course.reason);
  const later = openFailures(rollout)
    .map(failureOf)
    .filter((failure) => !course.reason.includes(failure));
  const reason = bounded([course.reason, ...later].join('; '));
  if (reason === course.reason) return enter(world, rollout, 'paused', reason);
  return withRollout(world, { course: { ...course, reason }, ...(rollout.phase === 'paused' && { reason }) });
}

function enter(world: ActiveWorld, rollout: Rollout, phase: RolloutPhase, reason: string): World {
  if (rollout.phase === phase) return world;
  const exitCode =
    phase === 'paused' && rollout.course.kind === 'paused' && rollout.course.by === 'failure' ? 5 : null;
  return withRollout(world, { phase, reason, exitCode });
}

function stepForward(
  world: ActiveWorld,
  rollout: Rollout,
  phase: Exclude<RolloutPhase, FinalPhase>,
  nowMs: number,
): World {
  switch (phase) {
    case 'planned':
      return enter(world, rollout, 'preflight', '');
    case 'preflight':
      return stepChecks(world, rollout, 'preflight', nowMs);
    case 'staging':
      return stepChecks(world, rollout, 'staging', nowMs);
    case 'expanding':
      return enter(world, rollout, 'rolling', '');
    case 'rolling':
      return stepRolling(world, rollout, nowMs);
    case 'soaking':
      return enter(world, rollout, 'finalizing', '');
    case 'finalizing':
      return finalize(world, rollout, nowMs);
    case 'paused':
    case 'rolling_back':
      return enter(world, rollout, resumedPhase(rollout), '');
  }
}

/** Where a resumed rollout is, told from its nodes. */
function resumedPhase(rollout: Rollout): RolloutPhase {
  const open = [...rollout.nodes.values()].filter((node) => !isSettled(node));
  if (open.some((node) => !node.checked)) return 'preflight';
  if (rollout.plan.header.stageOnly) return 'staging';
  if (open.some((node) => node.state.phase === 'pending' || node.state.phase === 'staging')) return 'staging';
  return 'rolling';
}

/** Preflight and staging: all nodes at once; nothing is touched, and all problems are told together. */
function stepChecks(
  world: ActiveWorld,
  rollout: Rollout,
  phase: 'preflight' | 'staging',
  nowMs: number,
): World {
  const kind = phase === 'preflight' ? 'preflight' : 'stage';
  const waiting = [...rollout.nodes.values()].filter(
    (node) => node.state.phase === 'pending' && node.error === null && (phase === 'staging' || !node.checked),
  );
  if (waiting.length > 0) {
    const checking = waiting.map((node): [string, RolloutNode] => {
      const { command, attempts } = nextCommand(rollout, node, kind);
      return [node.id, movedTo(node, { state: { phase, command }, attempts }, nowMs)];
    });
    return withNodes(world, new Map(checking));
  }
  const silent = [...rollout.nodes.values()].filter((node) => isSilent(world, rollout, node, nowMs));
  if (silent.length > 0) return silent.reduce((next, node) => giveUp(next, node, nowMs), world);
  if ([...rollout.nodes.values()].some((node) => openCommand(node.state) !== undefined)) return world;
  const failed = nodesInOrder(rollout)
    .filter(hasFailed)
    .filter(({ state }) => state.phase !== 'skipped');
  if (failed.length > 0) {
    const reason = `${phase} failed on ${failed.length} of ${rollout.nodes.size} nodes, and nothing was touched: ${failed.map(({ error }) => error.message).join('; ')}`;
    return withRollout(world, { course: { kind: 'called_off', reason } });
  }
  if (phase === 'preflight') return enter(world, rollout, 'staging', '');
  return rollout.plan.header.stageOnly
    ? endStaged(world, rollout, nowMs)
    : enter(world, rollout, 'expanding', '');
}

/** All that was asked for: the release lies on every node, and none was touched. */
function endStaged(world: ActiveWorld, rollout: Rollout, nowMs: number): World {
  const staged = [...rollout.nodes.values()].filter((node) => node.state.phase === 'ready').length;
  if (staged === 0) return endIfSettled(world, rollout, 'every node was skipped', nowMs);
  const reason = `${rollout.plan.header.to} is staged on ${staged === 1 ? 'one node' : `${staged} nodes`}, and none was touched`;
  return end(world, 'succeeded', reason, 0, nowMs);
}

function isSilent(world: World, rollout: Rollout, node: RolloutNode, nowMs: number): boolean {
  const boundMs = rollout.plan.header.policy.timeouts.preflightMs;
  return openCommand(node.state) !== undefined && silentForMs(world, node, nowMs) > boundMs;
}

function giveUp(world: ActiveWorld, node: RolloutNode, nowMs: number): ActiveWorld {
  const { refusal } = viewOf(world, node.id);
  const { rollbackOf } = world.rollout.plan.header;
  const otherwise =
    rollbackOf === null
      ? `or leave it out with --exclude ${node.id}`
      : `or say plexictl rollback --update-id ${rollbackOf}, which leaves it as it is`;
  const unreachable = `${node.id} cannot be reached; start its agent, ${otherwise}`;
  const error =
    refusal === null
      ? { code: 'NODE_UNREACHABLE', message: unreachable }
      : { code: refusal.code, message: `${node.id} does not let itself be adopted: ${refusal.message}` };
  const ended = givenUp(node);
  return withNode(world, node.id, { state: { phase: 'pending' }, ended, error }, nowMs);
}

/** Nodes whose failure nobody has put aside. */
function openFailures(rollout: Rollout): FailedNode[] {
  return nodesInOrder(rollout).filter(
    (node): node is FailedNode =>
      hasFailed(node) &&
      !rollout.forgiven.includes(node.id) &&
      node.state.phase !== 'ready' &&
      node.state.phase !== 'skipped',
  );
}

function stepRolling(world: ActiveWorld, rollout: Rollout, nowMs: number): World {
  const failed = openFailures(rollout);
  const first = failed[0];
  const { policy } = rollout.plan.header;
  if (first !== undefined && failed.length > policy.failureBudget) return turnBack(world, rollout, first);
  const next = nextToStart(world, rollout, nowMs);
  // A node that needs an operator blocks new upgrades, never the way back (protocol, rule 17).
  const isBlocking =
    rollout.plan.header.direction === 'forward' && stuckCount(world.slots) > policy.failureBudget;
  if (next !== undefined && isBlocking) {
    return waitForOperator(world, rollout);
  }
  if (next !== undefined) {
    const reason = `upgrade to ${targetVersion(rollout, next.node.id)}`;
    const taken = takeSlot(world, next.node, next.index, reason, nowMs);
    return withCommand(
      taken,
      next.node,
      'upgrade',
      (command) => ({ phase: 'entering_maintenance', command }),
      nowMs,
    );
  }
  if (isOnlyStuckInTheWay(world, rollout)) return waitForOperator(world, rollout);
  const open = [...rollout.nodes.values()].some((node) => !isSettled(node));
  return open ? world : enter(world, rollout, 'soaking', '');
}

/** Nodes that need an operator stop every further start: once nothing is under way, that is said. */
function waitForOperator(world: ActiveWorld, rollout: Rollout): World {
  const isUnderWay = [...rollout.nodes.values()].some(
    (node) => openCommand(node.state) !== undefined || node.state.phase === 'soaking',
  );
  if (isUnderWay) return world;
  const names = [...world.slots].filter(([key]) => isStuck(key)).map(([, slot]) => slot.node);
  const reason = `${names.join(', ')} must be looked after by an operator first: put it right and say plexictl node confirm ${names[0]} --version VERSION --reason TEXT, then plexictl resume`;
  return withRollout(world, { course: { kind: 'paused', by: 'failure', reason } });
}

/** The failure budget is spent: what happens is the policy's word. A rollback is never taken back itself. */
function turnBack(world: ActiveWorld, rollout: Rollout, node: FailedNode): World {
  const { header } = rollout.plan;
  const reason = failureOf(node);
  if (header.direction === 'back') return withRollout(world, { course: { kind: 'aborting', reason } });
  return header.policy.rollbackOnFailure
    ? withRollout(world, { course: { kind: 'back', reason } })
    : withRollout(world, { course: { kind: 'paused', by: 'failure', reason } });
}

/** `node-3 failed at probe: …`, or the sentence of a failure that names no step. */
function failureOf({ id, error: { message } }: FailedNode): string {
  if (message.startsWith('at ')) return `${id} failed ${message}`;
  return message.startsWith(id) ? message : `${id}: ${message}`;
}
