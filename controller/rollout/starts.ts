/**
 * Which node starts next: in the order of the plan and wave after wave, in reach, in nobody's hand, and within the
 * budget, its zone and its groups. And what is in the way when none does.
 */
import { freeIndex, isStuck, slotOf, stuckCount } from './budget.js';
import { viewOf } from './change.js';
import { hasOpenOrder } from './orders.js';
import type { Rollout, RolloutNode } from './rollout.js';
import { countSpread, countSpreadPutRight, type SpreadCount, whyNotOut } from './spread.js';
import type { World } from './world.js';

/** Nodes that go out in one decision: more of them wait for the next one, so that none takes long. */
const startsAtOnce = 100;

/** The next node in order whose wave is open, that can be reached, and for which there is a slot. */
export function nextToStart(
  world: World,
  rollout: Rollout,
  nowMs: number,
): { node: RolloutNode; index: string } | undefined {
  if (!maySlotBeTaken(world, nowMs)) return undefined;
  const wave = openWave(rollout);
  const spread = countSpread(world, rollout.plan.header.direction === 'back');
  const free = freeIndex(world);
  for (const part of rollout.plan.parts) {
    const node = rollout.nodes.get(part.node);
    if (part.wave !== wave || node === undefined) continue;
    const index = indexFor(world, rollout, node, free);
    if (index !== undefined && whyNotOut(spread, node.id) === undefined) return { node, index };
  }
  return undefined;
}

/**
 * Whether nothing but nodes that need an operator keeps the open wave from its end: they are all of it, or the
 * others must not go out beside them, for their zone or group. Time alone changes nothing then.
 */
export function isOnlyStuckInTheWay(world: World, rollout: Rollout): boolean {
  if (stuckCount(world.slots) === 0) return false;
  const wave = openWave(rollout);
  const inWave = new Set(rollout.plan.parts.filter((part) => part.wave === wave).map(({ node }) => node));
  const open = [...rollout.nodes.values()].filter((node) => inWave.has(node.id) && !isSettled(node));
  const putRight = countSpreadPutRight(world);
  const free = freeIndex(world);
  return (
    open.length > 0 &&
    open.every(
      (node) =>
        isStuck(slotOf(world.slots, node.id) ?? '') || wouldStartBeside(putRight, rollout, node, free),
    )
  );
}

/** Whether a node would start if zones and groups were counted so. */
function wouldStartBeside(
  spread: SpreadCount,
  rollout: Rollout,
  node: RolloutNode,
  free: string | undefined,
): boolean {
  const { world } = spread;
  if (!mayStart(world) || indexFor(world, rollout, node, free) === undefined) return false;
  return whyNotOut(spread, node.id) === undefined;
}

/** Whether one more node may go out now, should there be room for it. */
export function maySlotBeTaken(world: World, nowMs: number): boolean {
  const taken = [...world.slots.values()].filter(({ sinceMs }) => sinceMs === nowMs).length;
  return mayStart(world) && taken < startsAtOnce;
}

/** Whether nothing keeps all nodes at once from starting. */
function mayStart({ holdStarts, recovery }: World): boolean {
  return !holdStarts && recovery === null;
}

/**
 * The index that a node may take which is ready, in reach and in nobody's hand: the one that an operator took for
 * it already, or the free one.
 */
function indexFor(
  world: World,
  rollout: Rollout,
  { id, state }: RolloutNode,
  free: string | undefined,
): string | undefined {
  if (state.phase !== 'ready' || !viewOf(world, id).reachable || isKept(world, rollout, id)) return undefined;
  const held = slotOf(world.slots, id);
  if (held === undefined) return free;
  // It needs an operator: its slot is apart from the budget, and nothing would count it when it goes out.
  return isStuck(held) ? undefined : held;
}

/** An operator has the node for himself: by a hold, which keeps upgrades away and no way back, or by an order. */
function isKept(world: World, rollout: Rollout, node: string): boolean {
  const isHeld = rollout.plan.header.direction === 'forward' && world.holds.has(node);
  return isHeld || hasOpenOrder(world, node);
}

/** The lowest wave with a node that has not ended; of none it is infinite. */
export function openWave({ plan, nodes }: Rollout): number {
  const open = plan.parts.filter(({ node }) => !isSettledIn({ nodes }, node));
  return Math.min(...open.map(({ wave }) => wave));
}

function isSettledIn({ nodes }: Pick<Rollout, 'nodes'>, id: string): boolean {
  const node = nodes.get(id);
  return node === undefined || isSettled(node);
}

/** Nothing more is to be done on it going forward. */
export function isSettled(node: RolloutNode): boolean {
  const { phase } = node.state;
  return phase === 'done' || phase === 'skipped' || phase === 'rolled_back' || phase === 'rollback_failed';
}
