/**
 * What time brings: a node that stayed healthy for its soak is done, one that did not has failed, and
 * one that nobody could reach for too long is lost. The soak is measured by the agent's monotonic
 * clock; the leader's own clock only bounds it (semantics S27).
 */
import { holdsSlot, settle, strand, viewOf, withRollout } from './change.js';
import type { Rollout, RolloutNode, World } from './rollout.js';

/** A node may have been good for longer than the leader has known of its commit, by this much at the most. */
const staleMarginMs = 5_000;
/** A soak that is set back by bad samples may take this many times its length. */
const soakPatience = 3;

/** One soaking node that is done, or has failed. */
export function settleSoaking(world: World, rollout: Rollout, nowMs: number): World {
  if (rollout.course.kind === 'back') return world;
  for (const node of rollout.nodes.values()) {
    if (node.state.phase !== 'soaking') continue;
    const { soakMs, timeouts } = rollout.plan.header.policy;
    if (hasSoaked(world, node, soakMs, nowMs)) {
      return settle(world, node.id, { state: { phase: 'done' }, error: null }, nowMs);
    }
    const view = viewOf(world, node.id);
    const overdue = view.reachable && nowMs - node.sinceMs > soakMs * soakPatience + timeouts.probeMs;
    if ((view.reachable && view.health === 'unhealthy') || overdue)
      return failSoak(world, rollout, node, nowMs);
  }
  return world;
}

/** Whether a node was good for its whole soak, by a report that is newer than its commit. */
export function hasSoaked(world: World, node: RolloutNode, soakMs: number, nowMs: number): boolean {
  if (soakMs === 0) return true;
  const view = viewOf(world, node.id);
  if (!view.reachable || view.release?.digest !== node.release.digest) return false;
  const isStale = view.goodForMs > nowMs - node.sinceMs + staleMarginMs;
  return view.goodForMs >= soakMs && !isStale;
}

/** It committed, so it does not go back by itself: the rollout turns back, and it with the others. */
function failSoak(world: World, rollout: Rollout, node: RolloutNode, nowMs: number): World {
  const { healthReason } = viewOf(world, node.id);
  const error = {
    code: 'SOAK_FAILED',
    message: `it did not stay healthy after the upgrade: ${healthReason}`,
  };
  const failed = settle(world, node.id, { state: { phase: 'done' }, error }, nowMs);
  const reason = `${node.id}: ${error.message}`;
  const { header } = rollout.plan;
  if (rollout.course.kind !== 'forward') return failed;
  return header.direction === 'forward' && header.policy.rollbackOnFailure
    ? withRollout(failed, { course: { kind: 'back', reason } })
    : withRollout(failed, { course: { kind: 'paused', by: 'failure', reason } });
}

/** One node that held a slot and was unknown for too long: lost, and an operator's. */
export function settleLost(world: World, rollout: Rollout, nowMs: number): World {
  const { unknownMaxMs } = rollout.plan.header.policy;
  for (const node of rollout.nodes.values()) {
    if (node.unknownSinceMs === null || nowMs - node.unknownSinceMs <= unknownMaxMs) continue;
    const { phase } = node.state;
    if (!holdsSlot(world, node.id) || phase === 'rollback_failed' || phase === 'done') continue;
    const message = `${node.id} could not be reached for ${Math.round(unknownMaxMs / 1000)} s while it was ${phase}; look at the node, then at plexictl why ${node.id}`;
    return strand(world, node.id, { code: 'NODE_LOST', message }, nowMs);
  }
  return world;
}
