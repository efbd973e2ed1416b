/**
 * What time brings: a node that stayed healthy for its soak is done, one that did not has failed, and
 * one that nobody could reach for too long is lost. The soak is measured by the agent's monotonic
 * clock; the leader's own clock only bounds it (semantics S27).
 */
import { heldBy, isStuck } from './budget.js';
import { settle, strand, viewOf, withNode, withRollout } from './change.js';
import type { Rollout, RolloutNode } from './rollout.js';
import { silentForMs } from './silence.js';
import type { ActiveWorld, NodeView, World } from './world.js';

/** What counts of the time that a node was good before the leader knew of its commit, at the most. */
const unseenMarginMs = 5_000;
/** A soak that is set back by bad samples may take this many times its length. */
const soakPatience = 3;

/** One soaking node that is done, or has failed. */
export function settleSoaking(world: ActiveWorld, rollout: Rollout, nowMs: number): World {
  if (rollout.course.kind === 'back') return world;
  for (const node of rollout.nodes.values()) {
    if (node.state.phase !== 'soaking') continue;
    const { soakMs, timeouts } = rollout.plan.header.policy;
    if (hasSoaked(world, node, soakMs, nowMs)) {
      return settle(world, node.id, { state: { phase: 'done' }, error: null }, nowMs);
    }
    const view = viewOf(world, node.id);
    const watchedSinceMs = Math.max(node.sinceMs, world.leadSinceMs);
    const overdue = view.reachable && nowMs - watchedSinceMs > soakMs * soakPatience + timeouts.probeMs;
    const isBad = (view.reachable && view.health === 'unhealthy') || overdue;
    if (isBad && node.error === null) return failSoak(world, rollout, node, nowMs);
  }
  return world;
}

/** Whether a node was good for its whole soak, by a report that is newer than its commit; for none, by one report. */
export function hasSoaked(world: World, node: RolloutNode, soakMs: number, nowMs: number): boolean {
  const view = viewOf(world, node.id);
  if (!view.reachable || view.release?.digest !== node.release.digest) return false;
  if (soakMs === 0) return view.health === 'healthy';
  return soakedForMs(view, node, nowMs) >= soakMs;
}

/**
 * How long a node has been good since its commit. The leader may have heard of the commit late, after a
 * change of leader or a slow hook: what it did not see counts up to a margin, and the rest soaks again.
 */
export function soakedForMs(view: NodeView, node: RolloutNode, nowMs: number): number {
  return Math.min(view.goodForMs, nowMs - node.sinceMs + unseenMarginMs);
}

/**
 * It committed, so it does not go back by itself. It keeps its slot: it is out of service until it was
 * taken back, or was healthy for its whole soak after all.
 */
function failSoak(world: ActiveWorld, rollout: Rollout, node: RolloutNode, nowMs: number): World {
  const error = {
    code: 'SOAK_FAILED',
    message: `it did not stay healthy after the upgrade: ${whyNotSoaked(world, rollout, node)}`,
  };
  const failed = withNode(world, node.id, { error }, nowMs);
  if (rollout.course.kind !== 'forward') return failed;
  const reason = `${node.id}: ${error.message}`;
  const { header } = rollout.plan;
  return header.direction === 'forward' && header.policy.rollbackOnFailure
    ? withRollout(failed, { course: { kind: 'back', reason } })
    : withRollout(failed, { course: { kind: 'paused', by: 'failure', reason } });
}

/** What the node says of itself; of one that says nothing bad, what kept its soak from its end. */
function whyNotSoaked(world: World, rollout: Rollout, node: RolloutNode): string {
  const { health, healthReason, release } = viewOf(world, node.id);
  if (health === 'unhealthy' && healthReason !== '') return healthReason;
  if (release !== null && release.digest !== node.release.digest)
    return `it runs ${release.version} now, and was given ${node.release.version}`;
  const { soakMs } = rollout.plan.header.policy;
  return soakMs === 0
    ? 'it has not said once that it is healthy'
    : `it was never good for ${soakMs / 1_000} s on end`;
}

/** One node that held a slot, or is to be taken back, and was unknown for too long: lost, and an operator's. */
export function settleLost(world: World, rollout: Rollout, nowMs: number): World {
  const { policy, stageOnly } = rollout.plan.header;
  const { unknownMaxMs } = policy;
  for (const node of rollout.nodes.values()) {
    if (silentForMs(world, node, nowMs) <= unknownMaxMs) continue;
    const { phase } = node.state;
    // Of one on which the release was only to be laid ready, nothing more is wanted.
    if (phase === 'ready' && rollout.course.kind === 'forward' && !stageOnly)
      return skipLost(world, node, nowMs);
    const isAwaited = rollout.course.kind === 'back' && phase === 'done' && node.outSinceMs !== null;
    const held = heldBy(world.slots, node.id);
    // An operator's own slot, and one of before, are no reason to call a node lost that was not touched.
    const isOurs = held !== undefined && held.slot.rollout === rollout.id && !isStuck(held.key);
    const isOut = isOurs && phase !== 'rollback_failed' && phase !== 'done';
    if (!isAwaited && !isOut) continue;
    const forText = `for ${Math.round(unknownMaxMs / 1000)} s while it was ${phase}`;
    const message = `${whyAway(world, node.id)} ${forText}; look at the node, then at plexictl status`;
    return strand(world, node, { code: 'NODE_LOST', message }, nowMs);
  }
  return world;
}

/** A node that answers and does not obey is no one that is down: what it says tells what to do. */
function whyAway(world: World, id: string): string {
  const { refusal } = viewOf(world, id);
  return refusal === null
    ? `${id} could not be reached`
    : `${id} did not let itself be adopted (${refusal.message})`;
}

/** A node that was not touched and cannot be reached is left out; the others go on without it. */
function skipLost(world: World, node: RolloutNode, nowMs: number): World {
  const code = viewOf(world, node.id).refusal?.code ?? 'NODE_UNREACHABLE';
  const message = `${whyAway(world, node.id)} in time and was left out; run the same plexictl rollout again once its agent answers`;
  return withNode(world, node.id, { state: { phase: 'skipped' }, error: { code, message } }, nowMs);
}
