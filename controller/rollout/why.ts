/**
 * Why a node does not go on: each reason, since when, and what would let it go on. The words hold no
 * numbers that move, so that a waiting node costs no writes (semantics S26).
 */
import { freeIndex } from './budget.js';
import { viewOf, withNode } from './change.js';
import { isManual } from './manual.js';
import { isFinal, type Rollout, type RolloutNode, type WaitReason, type World } from './rollout.js';

type Reason = Omit<WaitReason, 'sinceMs'>;

/** Brings every node's reasons up to date; a reason that stays keeps its time. */
export function explainWaiting(world: World, nowMs: number): World {
  const { rollout } = world;
  if (rollout === undefined) return world;
  let next = world;
  for (const node of rollout.nodes.values()) {
    const reasons = isFinal(rollout.phase) ? [] : reasonsOf(world, rollout, node);
    if (sameReasons(node.waitingOn, reasons)) continue;
    const waitingOn = reasons.map((reason) => ({
      ...reason,
      sinceMs: node.waitingOn.find((before) => before.reason === reason.reason)?.sinceMs ?? nowMs,
    }));
    next = withNode(next, node.id, { waitingOn }, nowMs);
  }
  return next;
}

function reasonsOf(world: World, rollout: Rollout, node: RolloutNode): Reason[] {
  const { policy } = rollout.plan.header;
  const reasons: Reason[] = [];
  if (node.unknownSinceMs !== null && node.state.phase !== 'done') {
    reasons.push({
      reason: viewOf(world, node.id).refusal?.message ?? 'it cannot be reached',
      unblock: `its agent answers; after ${Math.round(policy.unknownMaxMs / 1000)} s it counts as lost`,
    });
  }
  if (node.state.phase === 'soaking') {
    reasons.push({
      reason: `it must stay healthy for ${policy.soakMs} ms`,
      unblock: 'time, and good probes',
    });
  }
  if (node.state.phase === 'rollback_failed') {
    reasons.push({
      reason: 'it needs an operator',
      unblock: `a look at ${node.id}: its agent's log, then its journal`,
    });
  }
  if (node.state.phase === 'ready' || node.state.phase === 'pending')
    reasons.push(...beforeStart(world, rollout, node));
  return reasons;
}

function beforeStart(world: World, rollout: Rollout, node: RolloutNode): Reason[] {
  switch (rollout.course.kind) {
    case 'paused':
      return [{ reason: `the rollout is paused: ${rollout.course.reason}`, unblock: 'plexictl resume' }];
    case 'aborting':
    case 'back':
    case 'called_off':
      return [];
    case 'forward':
      break;
  }
  if (node.state.phase === 'pending') {
    return node.checked
      ? [{ reason: 'preflight is not over on all nodes', unblock: 'the answers of the other nodes' }]
      : [];
  }
  if (rollout.phase === 'staging') {
    return [{ reason: 'staging is not over on all nodes', unblock: 'the downloads of the other nodes' }];
  }
  const wave = waveAhead(rollout, node);
  if (wave !== undefined)
    return [{ reason: `wave ${wave} is not over`, unblock: 'the end of its last soak' }];
  const byHand = [...world.slots.values()].filter((slot) => isManual(slot) && slot.node !== node.id);
  if (byHand.length > 0 && freeIndex(world) === undefined) {
    const names = byHand.map((slot) => slot.node).join(', ');
    return [
      {
        reason: `the budget is spent, on ${names} too, in maintenance by an operator`,
        unblock: `plexictl node maintenance off ${byHand[0]?.node}`,
      },
    ];
  }
  const max = rollout.plan.header.policy.maxConcurrent;
  return [
    {
      reason: `at most ${max} ${max === 1 ? 'node' : 'nodes'} may be out of service, and others go first`,
      unblock: 'the end of the soak of a node before it',
    },
  ];
}

/** The lowest wave with a node that has not ended, when it is before this node's own. */
function waveAhead(rollout: Rollout, node: RolloutNode): number | undefined {
  const own = rollout.plan.parts.find((part) => part.node === node.id)?.wave ?? 0;
  const open = rollout.plan.parts.filter((part) => {
    const phase = rollout.nodes.get(part.node)?.state.phase;
    return part.wave < own && phase !== 'done' && phase !== 'skipped' && phase !== 'rolled_back';
  });
  return open.length === 0 ? undefined : Math.min(...open.map((part) => part.wave));
}

function sameReasons(before: readonly WaitReason[], after: readonly Reason[]): boolean {
  return (
    before.length === after.length && after.every((reason, index) => before[index]?.reason === reason.reason)
  );
}
