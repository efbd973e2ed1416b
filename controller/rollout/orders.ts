/**
 * An operator's order to one node, outside of every rollout: to take over a service that runs already,
 * or to take his word for what the node runs. It takes nothing out of service, so it takes no slot;
 * but while it is open no rollout is planned over that node, and a node in a rollout takes none.
 */
import { isStuck, slotOf, withoutSlotOf } from './budget.js';
import { viewOf, withNode } from './change.js';
import type { Effect } from './events.js';
import type { Milliseconds, NodeOrder, World } from './rollout.js';

/** Milliseconds after which an order that could not be brought to its end has failed. */
const orderMaxMs = 3_600_000;

export function withOrder(world: World, node: string, order: NodeOrder): World {
  return { ...world, orders: new Map([...world.orders, [node, order]]) };
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
 * right by him; a rollout that waited for it goes on without it.
 */
export function finishOrder(world: World, node: string, commandId: string, digest: string): World {
  const order = openOrder(world, node, commandId);
  if (order === undefined) return world;
  const done = withOrder(world, node, { ...order, state: 'done', digest });
  const key = slotOf(done.slots, node);
  return key !== undefined && isStuck(key) ? { ...done, slots: withoutSlotOf(done.slots, node) } : done;
}

export function failOrder(world: World, node: string, commandId: string, message: string): World {
  const order = openOrder(world, node, commandId);
  return order === undefined ? world : withOrder(world, node, { ...order, state: 'failed', message });
}

/** A node of the active rollout that an operator put right needs no operator any more. */
export function forgetStranded(world: World, node: string, nowMs: Milliseconds): World {
  return world.rollout?.nodes.get(node)?.state.phase === 'rollback_failed'
    ? withNode(world, node, { state: { phase: 'skipped' }, error: null }, nowMs)
    : world;
}

/** One order that was open for too long. */
export function settleOrders(world: World, nowMs: Milliseconds): World {
  for (const [node, order] of world.orders) {
    if (order.state !== 'open' || nowMs - order.sinceMs <= orderMaxMs) continue;
    const message = `${node} could not be reached in time; start its agent, and give the order again`;
    return withOrder(world, node, { ...order, state: 'failed', message });
  }
  return world;
}

function openOrder(world: World, node: string, commandId: string): NodeOrder | undefined {
  const order = world.orders.get(node);
  return order?.state === 'open' && orderCommandId(node, order) === commandId ? order : undefined;
}

function orderCommandId(node: string, order: NodeOrder): string {
  return `${order.kind}.${node}.${order.sinceMs}`;
}
