/**
 * The way back. Nodes in flight take their own upgrade back; nodes that committed are reverted by the
 * newer release's down-migrations and the old code, newest first, inside the same budget. Nodes that
 * were never touched are left alone (semantics S11).
 */
import { freeIndex, heldBy, slotOf } from './budget.js';
import { nodesInOrder, strand, takeSlot, viewOf, withCommand, withRollout } from './change.js';
import { endIfSettled } from './ends.js';
import { isManual } from './manual.js';
import { hasOpenOrder } from './orders.js';
import { hasFailed, isUpgrading, type Milliseconds, type Rollout, type RolloutNode } from './rollout.js';
import { countSpread, whyNotOut } from './spread.js';
import { maySlotBeTaken } from './starts.js';
import type { ActiveWorld, World } from './world.js';

/** Course `back`: one more step until every touched node is back. */
export function stepBack(world: ActiveWorld, rollout: Rollout, reason: string, nowMs: number): World {
  if (rollout.phase !== 'rolling_back') return withRollout(world, { phase: 'rolling_back', reason });
  const recalled = recallOne(world, rollout, nowMs);
  if (recalled !== world) return recalled;
  const soaking = nodesInOrder(rollout).find((node) => node.state.phase === 'soaking');
  if (soaking !== undefined) return revert(world, soaking, nowMs);
  const next = maySlotBeTaken(world, nowMs) ? newestTouched(world, rollout) : undefined;
  const index = next && (slotOf(world.slots, next.id) ?? freeIndex(world));
  if (next !== undefined && index !== undefined) {
    const before = rollout.plan.parts.filter(({ node }) => node === next.id).map(({ from }) => from.version);
    const reason = `back to ${before.join()}`;
    return revert(takeSlot(world, next, index, reason, nowMs), next, nowMs);
  }
  return isAnyTouched(rollout) ? world : endIfSettled(world, rollout, rollout.reason, nowMs);
}

/** Course `aborting`: nodes in flight go back when they have not committed, else they finish. */
export function stepAborting(world: ActiveWorld, rollout: Rollout, reason: string, nowMs: number): World {
  const recalled = recallOne(world, rollout, nowMs);
  if (recalled !== world) return recalled;
  const unhealthy = nodesInOrder(rollout)
    .filter(hasFailed)
    .find((node) => node.state.phase === 'soaking');
  if (unhealthy !== undefined) return strand(world, unhealthy, unhealthy.error, nowMs);
  const inFlight = nodesInOrder(rollout).some(
    (node) => node.state.phase === 'soaking' || node.state.phase === 'rolling_back',
  );
  return inFlight ? world : endIfSettled(world, rollout, reason, nowMs);
}

/** Takes one upgrade back that has not told its end. The agent finishes the step it is in. */
function recallOne(world: ActiveWorld, rollout: Rollout, nowMs: number): World {
  const node = nodesInOrder(rollout).find((candidate) => isUpgrading(candidate.state));
  if (node === undefined) return world;
  return withCommand(world, node, 'roll_back', (command) => ({ phase: 'rolling_back', command }), nowMs);
}

function revert(world: ActiveWorld, node: RolloutNode, nowMs: number): World {
  return withCommand(world, node, 'revert', (command) => ({ phase: 'rolling_back', command }), nowMs);
}

/** A node that runs what it is to be taken back from; it was done at `backAtMs`. */
type TouchedNode = RolloutNode & { readonly backAtMs: Milliseconds };

/** Whether a node was through with its upgrade: on the way back it is to go back. */
export function isTouched(node: RolloutNode): node is TouchedNode {
  return node.state.phase === 'done' && node.outSinceMs !== null && node.backAtMs !== null;
}

/** Whether a node is still on its way back, or waits for it. */
function isAnyTouched(rollout: Rollout): boolean {
  return [...rollout.nodes.values()].some((node) => node.state.phase === 'rolling_back' || isTouched(node));
}

function newestTouched(world: World, rollout: Rollout): RolloutNode | undefined {
  const spread = countSpread(world, true);
  return [...rollout.nodes.values()]
    .filter(isTouched)
    .filter(
      (node) =>
        !isHeldByUs(world, node.id) &&
        !hasOpenOrder(world, node.id) &&
        viewOf(world, node.id).reachable &&
        whyNotOut(spread, node.id) === undefined,
    )
    .sort((a, b) => b.backAtMs - a.backAtMs)[0];
}

/** An operator's own slot does not keep a node from going back: the rollout takes it over, and gives it back. */
function isHeldByUs(world: World, node: string): boolean {
  const held = heldBy(world.slots, node);
  return held !== undefined && !isManual(held.slot);
}
