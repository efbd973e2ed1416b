/**
 * Maintenance by an operator's hand. It takes a slot like an upgrade does, so the budget is one for
 * both (semantics S18); a rollout takes such a slot over, and gives it back when the node is done
 * (protocol, rule 19).
 */
import { freeIndex, heldBy, lowestIndex, withoutSlotOf, withSlot } from './budget.js';
import { viewOf } from './change.js';
import type { Effect } from './events.js';
import type { ManualMaintenance, Slot, World } from './world.js';

/** Enters an operator's wish. The caller has seen that there is a slot to take, or one to give back. */
export function wishMaintenance(
  world: World,
  node: string,
  on: boolean,
  reason: string,
  nowMs: number,
): World {
  const held = heldBy(world.slots, node);
  // It is out, and nobody knows of it but itself: then it is put back like any other.
  if (!on && held === undefined && viewOf(world, node).inMaintenance === true)
    return wishMaintenance(withManualSlot(world, node, nowMs), node, on, reason, nowMs);
  const before = held?.slot.maintenance;
  if (held !== undefined && before) {
    const maintenance: ManualMaintenance = {
      wanted: on ? 'in' : 'out',
      attempt: before.attempt + 1,
      reason: on ? reason : before.reason,
      failed: false,
      done: false,
    };
    const slot = { ...held.slot, reason: maintenance.reason, maintenance };
    return { ...world, slots: withSlot(world.slots, held.key, slot) };
  }
  const index = freeIndex(world);
  if (!on || held !== undefined || index === undefined) return world;
  const maintenance: ManualMaintenance = { wanted: 'in', attempt: 1, reason, failed: false, done: false };
  const slot: Slot = { node, reason, rollout: '', term: world.term, sinceMs: nowMs, maintenance };
  return { ...world, slots: withSlot(world.slots, index, slot) };
}

/** An operator's maintenance that nobody but the node's agent knows of. */
const toldMaintenance: ManualMaintenance = {
  wanted: 'in',
  attempt: 1,
  reason: "maintenance by an operator, by its agent's word",
  failed: false,
  done: true,
};

/** A slot for a node that an operator has out, whatever the budget says: it is out already. */
export function withManualSlot<W extends World>(world: W, node: string, nowMs: number): W {
  const { reason } = toldMaintenance;
  const slot: Slot = {
    ...{ node, reason, rollout: '', term: world.term, sinceMs: nowMs },
    maintenance: toldMaintenance,
  };
  return { ...world, slots: withSlot(world.slots, lowestIndex(world.slots), slot) };
}

/**
 * A command for an operator's slot has ended well. The slot is freed by the end of the command that
 * put the node back, and by nothing else: what the node said before may be from before it went out.
 */
export function finishMaintenance(world: World, node: string, commandId: string): World {
  const held = heldByCommand(world, node, commandId);
  if (held === undefined) return world;
  const { key, slot } = held;
  const maintenance = { ...slot.maintenance, done: true };
  return {
    ...world,
    slots:
      maintenance.wanted === 'out'
        ? withoutSlotOf(world.slots, node)
        : withSlot(world.slots, key, { ...slot, maintenance }),
  };
}

/** The command that brings a node to what the operator wants; undefined when it is there, or must wait. */
export function manualEffect(world: World, slot: Slot, nowMs: number): Effect | undefined {
  if (!isManual(slot) || slot.maintenance.failed || slot.maintenance.done) return undefined;
  const view = viewOf(world, slot.node);
  if (!view.reachable || view.adopting || view.retryAtMs > nowMs || view.inMaintenance === null)
    return undefined;
  // Who holds a slot is adopted before anything else is sent (effects.ts).
  if (!view.adopted || view.inFlight !== null) return undefined;
  const id = manualCommandId(slot);
  const { attempt } = slot.maintenance;
  return { kind: 'send', node: slot.node, command: { kind: 'maintenance', id, attempt } };
}

/** A command that did not work is not repeated by itself; the operator sees why, and says it again. */
export function failMaintenance(world: World, node: string, commandId: string, message: string): World {
  const held = heldByCommand(world, node, commandId);
  if (held === undefined) return world;
  const { key, slot } = held;
  const maintenance = { ...slot.maintenance, failed: true };
  return { ...world, slots: withSlot(world.slots, key, { ...slot, reason: message, maintenance }) };
}

type ManualSlot = Slot & { readonly maintenance: ManualMaintenance };

/** An operator's slot that a command is for; undefined when it is for another, or for none. */
function heldByCommand(
  { slots }: World,
  node: string,
  commandId: string,
): { key: string; slot: ManualSlot } | undefined {
  const held = heldBy(slots, node);
  if (held === undefined || !isManual(held.slot)) return undefined;
  return manualCommandId(held.slot) === commandId ? { key: held.key, slot: held.slot } : undefined;
}

/** Whether the slot is an operator's, and no rollout has it now. */
export function isManual(slot: Slot): slot is ManualSlot {
  return slot.maintenance !== null && slot.rollout === '';
}

/** The id of the command that brings a node to what the operator wants. */
export function manualCommandId(slot: ManualSlot): string {
  return `maintenance.${slot.node}.${slot.sinceMs}.${slot.maintenance.attempt}`;
}
