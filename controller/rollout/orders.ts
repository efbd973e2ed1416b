/**
 * An operator's order to one node, outside of every rollout: to take over a service that runs already,
 * or to take his word for what the node runs. It takes nothing out of service, so it takes no slot;
 * but while it is open no rollout is planned over that node, and a node in a rollout takes none.
 */
import { heldBy, isStuck, lowestIndex, withoutSlotOf, withSlot } from './budget.js';
import { viewOf, withNode } from './change.js';
import type { CommandOutcome, Effect } from './events.js';
import { isManual, withManualSlot } from './manual.js';
import type { Milliseconds, ReleaseRef } from './rollout.js';
import { type NodeOrder, type World, withEntry } from './world.js';

/** Milliseconds after which an order that could not be brought to its end has failed. */
const orderMaxMs = 3_600_000;

export function withOrder(world: World, node: string, order: NodeOrder): World {
  return { ...world, orders: withEntry(world.orders, node, order) };
}

/** The command that an open order needs now; undefined when it must wait. */
export function orderEffect(
  world: World,
  node: string,
  order: NodeOrder,
  nowMs: Milliseconds,
): Effect | undefined {
  if (order.state !== 'open') return undefined;
  const view = viewOf(world, node);
  if (!view.reachable || view.adopting || view.retryAtMs > nowMs || view.inFlight !== null) return undefined;
  if (!view.adopted) return { kind: 'adopt', node };
  return { kind: 'send', node, command: { kind: 'take_over', id: orderCommandId(node, order), attempt: 1 } };
}

/**
 * The order has ended well: the node runs what the operator said. What kept a slot apart for it was put
 * right by him; a rollout that waited for it goes on without it. A node that is out of service all the same
 * is so by his hand, and keeps a slot; one that serves has none, whatever it was wanted for.
 */
export function finishOrder(
  world: World,
  node: string,
  commandId: string,
  { release, inMaintenance }: Pick<CommandOutcome, 'release' | 'inMaintenance'>,
  nowMs: Milliseconds,
): World {
  const order = openOrder(world, node, commandId);
  if (order === undefined) return world;
  const done = withOrder(world, node, { ...order, state: 'done', digest: release.digest });
  const held = heldBy(done.slots, node);
  if (held === undefined) return inMaintenance === true ? withManualSlot(done, node, nowMs) : done;
  const { slot } = held;
  const slots = withoutSlotOf(done.slots, node);
  // He had it out, and this has put it back.
  if (!isStuck(held.key))
    return isManual(slot) && slot.maintenance.done && inMaintenance === false ? { ...done, slots } : done;
  const isOut = inMaintenance ?? slot.maintenance !== null;
  if (!isOut) return { ...done, slots };
  if (slot.maintenance === null) return withManualSlot({ ...done, slots }, node, nowMs);
  // It was in maintenance by his hand before, and still is: he gets that slot back, if need be above max.
  const given = { ...slot, rollout: '', reason: slot.maintenance.reason };
  return { ...done, slots: withSlot(slots, lowestIndex(slots), given) };
}

export function hasOpenOrder(world: World, node: string): boolean {
  return world.orders.get(node)?.state === 'open';
}

export function failOrder(world: World, node: string, commandId: string, message: string): World {
  const order = openOrder(world, node, commandId);
  return order === undefined ? world : withOrder(world, node, { ...order, state: 'failed', message });
}

/**
 * A node of the active rollout that an operator put right needs no operator any more. What it runs now
 * says where it stands: back, at the target (from where it may have to go back), or somewhere else.
 */
export function forgetStranded(world: World, id: string, release: ReleaseRef, nowMs: Milliseconds): World {
  const node = world.rollout?.nodes.get(id);
  const part = world.rollout?.plan.parts.find((candidate) => candidate.node === id);
  if (node?.state.phase !== 'rollback_failed' || part === undefined) return world;
  if (release.digest === part.from.digest)
    return withNode(world, id, { state: { phase: 'rolled_back' }, release, backAtMs: nowMs }, nowMs);
  const change = { release, error: null, backAtMs: nowMs };
  const phase = release.digest === part.to.digest ? 'done' : 'skipped';
  return withNode(world, id, { ...change, state: { phase } }, nowMs);
}

/** One order that was open for too long. */
export function settleOrders(world: World, nowMs: Milliseconds): World {
  for (const [node, order] of world.orders) {
    if (order.state !== 'open' || nowMs - order.sinceMs <= orderMaxMs) continue;
    const why = viewOf(world, node).refusal?.message ?? 'its agent could not be reached';
    const message = `${node} did not carry out the order in time (${why}); put that right, and give it again`;
    return withOrder(world, node, { ...order, state: 'failed', message });
  }
  return world;
}

function openOrder(world: World, node: string, commandId: string): NodeOrder | undefined {
  const order = world.orders.get(node);
  return order?.state === 'open' && orderCommandId(node, order) === commandId ? order : undefined;
}

/** The id of an order's one command. */
export function orderCommandId(node: string, order: NodeOrder): string {
  return `${order.kind}.${node}.${order.sinceMs}`;
}
