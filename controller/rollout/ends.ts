/**
 * How a rollout ends, and with which exit code (contract, section 2; protocol, rule 30). The end
 * gives the budget back.
 */
import { withConfiguredBudget } from './budget.js';
import { givenUp, withNode, withRollout } from './change.js';
import type { FinalPhase, PlanPart, Rollout, RolloutNode } from './rollout.js';
import type { ActiveWorld, World } from './world.js';

/** Makes a rollout final. */
export function end(
  world: ActiveWorld,
  phase: FinalPhase,
  reason: string,
  exitCode: number,
  nowMs: number,
): World {
  const quiet = withoutChecks(withConfiguredBudget(world), nowMs);
  return withRollout(quiet, { phase, reason, exitCode, finishedAtMs: nowMs });
}

/** Nobody waits any longer for a check, or a staging, that is still under way: it touches nothing. */
function withoutChecks(world: ActiveWorld, nowMs: number): ActiveWorld {
  const checking = [...world.rollout.nodes.values()].filter(
    ({ state }) => state.phase === 'preflight' || state.phase === 'staging',
  );
  return checking.reduce(
    (next, node) => withNode(next, node.id, { state: { phase: 'pending' }, ended: givenUp(node) }, nowMs),
    world,
  );
}

/** A node that an operator confirmed at something else than what it ran before. */
function isElsewhere(world: World, node: RolloutNode | undefined, part: PlanPart): boolean {
  if (node === undefined || node.state.phase !== 'skipped' || node.outSinceMs === null) return false;
  const isConfirmed = world.orders.get(node.id)?.state === 'done';
  return isConfirmed && node.release.digest !== part.from.digest;
}

/** The end of a rollout that did not reach its target, told from where its nodes are. */
export function endIfSettled(world: ActiveWorld, rollout: Rollout, reason: string, nowMs: number): World {
  const nodes = [...rollout.nodes.values()];
  const stranded = nodes.filter((node) => node.state.phase === 'rollback_failed');
  if (stranded.length > 0) {
    const names = stranded.map((node) => node.id).join(', ');
    const need = stranded.length === 1 ? 'needs' : 'need';
    return end(
      world,
      'failed',
      `${reason}; ${names} ${need} an operator: look with plexictl status`,
      4,
      nowMs,
    );
  }
  const touched = nodes.some((node) => node.outSinceMs !== null);
  if (!touched) return end(world, 'aborted', `${reason}; nothing was touched`, 3, nowMs);
  const elsewhere = rollout.plan.parts
    .filter((part) => isElsewhere(world, rollout.nodes.get(part.node), part))
    .map((part) => part.node);
  if (rollout.course.kind === 'back' && elsewhere.length > 0) {
    const what = `${elsewhere.join(', ')} did not go back, by an operator's word`;
    return end(world, 'aborted', `${reason}; ${what}: versions are mixed`, 5, nowMs);
  }
  if (rollout.course.kind === 'back') return end(world, 'rolled_back', reason, 1, nowMs);
  if (rollout.plan.header.direction === 'back') return end(world, 'failed', reason, 4, nowMs);
  return end(
    world,
    'aborted',
    `${reason}; versions are mixed: go on with the same plexictl rollout, or take it back`,
    5,
    nowMs,
  );
}
