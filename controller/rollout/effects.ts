/**
 * What is to be done, told from the state: nodes with an open command are adopted first, then sent
 * the command; soaking nodes are looked at when their time may have come. What is handed out is
 * marked in the view, so that it is handed out once.
 */
import { isStuck } from './budget.js';
import { holdsSlot, viewOf } from './change.js';
import type { Advance, Effect } from './events.js';
import { manualEffect } from './manual.js';
import { orderEffect } from './orders.js';
import { isAwaited } from './recovery.js';
import { isFinal, openCommand, type RolloutNode } from './rollout.js';
import { soakedForMs } from './soak.js';
import type { NodeView, World } from './world.js';

/** Least and greatest milliseconds before a soaking node is looked at again. */
const lookMinMs = 50;
const lookMaxMs = 5_000;

export function dueEffects(world: World, nowMs: number): Advance {
  const { rollout } = world;
  const effects: Effect[] = [];
  // One copy for all nodes: one for each of them would be their square.
  const views = new Map(world.views);
  const next: World = { ...world, views };
  const handOut = (effect: Effect | undefined): void => {
    if (effect === undefined) return;
    effects.push(effect);
    views.set(effect.node, { ...viewOf(next, effect.node), ...markOf(effect, nowMs) });
  };
  for (const node of adoptedFirst(world)) {
    const view = viewOf(next, node);
    if (view.adopted && !isAwaited(next, node)) continue;
    if (!view.reachable || view.adopting || view.retryAtMs > nowMs) continue;
    handOut({ kind: 'adopt', node });
  }
  for (const slot of world.slots.values()) handOut(manualEffect(next, slot, nowMs));
  for (const [node, order] of world.orders) handOut(orderEffect(next, node, order, nowMs));
  if (rollout !== undefined && !isFinal(rollout.phase)) {
    for (const node of rollout.nodes.values())
      handOut(effectFor(next, node, rollout.plan.header.policy.soakMs, nowMs));
  }
  return effects.length === 0 ? { world, effects } : { world: next, effects };
}

/**
 * Nodes that are adopted before anything else, all at once: those that are out because of us (protocol,
 * rule 4), then those that are awaited after a restore of etcd, then those that joined. One that needs an
 * operator is sent nothing.
 */
function adoptedFirst(world: World): readonly string[] {
  const out = [...world.slots].filter(([key]) => !isStuck(key)).map(([, slot]) => slot.node);
  const awaited = world.recovery?.kind === 'adopting' ? world.recovery.awaited : [];
  const joined = [...world.views].filter(([, view]) => view.joined).map(([node]) => node);
  return [...out, ...awaited, ...joined];
}

function effectFor(world: World, node: RolloutNode, soakMs: number, nowMs: number): Effect | undefined {
  const view = viewOf(world, node.id);
  if (!view.reachable || view.adopting || view.retryAtMs > nowMs) return undefined;
  const command = openCommand(node.state);
  const isOurs = command !== undefined || holdsSlot(world, node.id);
  if (isOurs && !view.adopted) return { kind: 'adopt', node: node.id };
  if (command !== undefined && view.inFlight !== command.id) return { kind: 'send', node: node.id, command };
  if (node.state.phase === 'soaking' && view.lookAtMs <= nowMs) {
    const inMs = Math.min(Math.max(soakMs - soakedForMs(view, node, nowMs), lookMinMs), lookMaxMs);
    return { kind: 'look', node: node.id, inMs };
  }
  return undefined;
}

/** What the view of a node says once this was handed out. */
function markOf(effect: Effect, nowMs: number): Partial<NodeView> {
  switch (effect.kind) {
    case 'adopt':
      return { adopting: true };
    case 'send':
      return { inFlight: effect.command.id };
    case 'look':
      return { lookAtMs: nowMs + effect.inMs };
  }
}
