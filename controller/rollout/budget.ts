/**
 * Slots: one for each node that is out of service because of us, until its soak is over (guarantee
 * 1). Nodes that need an operator keep a slot apart, which blocks new upgrades but no rollback
 * (protocol, rules 15 to 18).
 */
import { type Slot, type World, withEntry } from './world.js';

const stuckPrefix = 'stuck-';

/** The slot a node holds, by the last part of its key; undefined when it holds none. */
export function slotOf(slots: ReadonlyMap<string, Slot>, node: string): string | undefined {
  return heldBy(slots, node)?.key;
}

/** A slot with the last part of its key. */
export interface Held {
  readonly key: string;
  readonly slot: Slot;
}

/** The slot that a node holds; undefined when it holds none. */
export function heldBy(slots: ReadonlyMap<string, Slot>, node: string): Held | undefined {
  for (const [key, slot] of slots) if (slot.node === node) return { key, slot };
  return undefined;
}

export function isStuck(key: string): boolean {
  return key.startsWith(stuckPrefix);
}

/**
 * The lowest free index, when the budget allows one more; undefined when it does not, or when nobody knows
 * which nodes are out, because etcd was restored (protocol, rule 21).
 */
export function freeIndex(world: Pick<World, 'slots' | 'budget' | 'recovery' | 'views'>): string | undefined {
  if (world.recovery !== null) return undefined;
  if (nodesOut(world).length >= world.budget.max) return undefined;
  // Fewer slots than indices are held, so the lowest free one is within the budget.
  return lowestIndex(world.slots);
}

/** The nodes that count against the budget. */
export function nodesOut(world: Pick<World, 'slots' | 'views'>): string[] {
  const held = [...world.slots].filter(([key]) => !isStuck(key)).map(([, slot]) => slot.node);
  return [...held, ...joinersOut(world)];
}

/** Nodes that joined in maintenance and were not adopted yet: out of service, and without a slot so far. */
export function joinersOut({ views, slots }: Pick<World, 'views' | 'slots'>): string[] {
  const out: string[] = [];
  for (const [node, view] of views)
    if (view.joined && view.inMaintenance === true && slotOf(slots, node) === undefined) out.push(node);
  return out;
}

/** The budget that the configuration names, which is in force whenever no rollout has its own. */
export function withConfiguredBudget<W extends World>(world: W): W {
  const { budget, configuredMax } = world;
  if (budget.max === configuredMax) return world;
  return { ...world, budget: { max: configuredMax, generation: budget.generation + 1 } };
}

/** The lowest index that no node holds, whatever the budget: for a node that is out already. */
export function lowestIndex(slots: ReadonlyMap<string, Slot>): string {
  let index = 0;
  while (slots.has(String(index))) index++;
  return String(index);
}

export function stuckCount(slots: ReadonlyMap<string, Slot>): number {
  return [...slots.keys()].filter(isStuck).length;
}

export function withSlot(
  slots: ReadonlyMap<string, Slot>,
  key: string,
  slot: Slot,
): ReadonlyMap<string, Slot> {
  return withEntry(slots, key, slot);
}

export function withoutSlotOf(slots: ReadonlyMap<string, Slot>, node: string): ReadonlyMap<string, Slot> {
  return new Map([...slots].filter(([, slot]) => slot.node !== node));
}

/** Gives a node one of the slots that wait for an operator, in the place of the one that it holds. */
export function withStuck(slots: ReadonlyMap<string, Slot>, stuck: Slot): ReadonlyMap<string, Slot> {
  const { node, reason } = stuck;
  const held = heldBy(slots, node)?.slot ?? stuck;
  return withSlot(withoutSlotOf(slots, node), `${stuckPrefix}${node}`, { ...held, reason });
}

/**
 * The same slots, with every node that held an index before at that index still. A node may free one and
 * take another within one decision; no order of transactions could store two that change places.
 */
export function withSamePlaces(
  before: ReadonlyMap<string, Slot>,
  after: ReadonlyMap<string, Slot>,
): ReadonlyMap<string, Slot> {
  let kept = after;
  for (const [key, { node }] of before) {
    const now = slotOf(kept, node);
    if (now === undefined || now === key || isStuck(key) || isStuck(now)) continue;
    kept = exchanged(kept, key, now);
  }
  return kept;
}

function exchanged(slots: ReadonlyMap<string, Slot>, one: string, other: string): ReadonlyMap<string, Slot> {
  const places = new Map([
    [one, other],
    [other, one],
  ]);
  return new Map([...slots].map(([key, slot]) => [places.get(key) ?? key, slot]));
}
