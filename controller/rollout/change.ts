/** Small steps from one world to the next. Every function returns what it got when nothing changes. */
import type { limits } from '../../config/limits.js';
import { heldBy, withoutSlotOf, withSlot, withStuck } from './budget.js';
import { cutText } from './cut-text.js';
import {
  commandId,
  type EndedCommand,
  type Fault,
  type NodeState,
  openCommand,
  type Rollout,
  type RolloutCommand,
  type RolloutCommandKind,
  type RolloutNode,
} from './rollout.js';
import { type ActiveWorld, isActive, type NodeView, type World, withEntry } from './world.js';

/** A node of which this leader has heard nothing. */
export const unseenNode: NodeView = {
  adopted: false,
  adopting: false,
  reachable: false,
  refusal: null,
  inFlight: null,
  retryAtMs: 0,
  lookAtMs: 0,
  health: 'unknown',
  healthReason: '',
  goodForMs: 0,
  release: null,
  inMaintenance: null,
  waitsFor: '',
  joined: false,
  seenAtMs: 0,
};

export function viewOf(world: World, node: string): NodeView {
  return world.views.get(node) ?? unseenNode;
}

export function withView<W extends World>(world: W, node: string, change: Partial<NodeView>): W {
  return { ...world, views: withEntry(world.views, node, { ...viewOf(world, node), ...change }) };
}

/** The bound of `config/limits.ts`, of which only the type may come in here: another number does not compile. */
const sentenceMax: (typeof limits)['failureChars'] = 4_096;
const more = ' …';

/** A sentence, cut where it is too long to be stored. */
export function bounded(sentence: string): string {
  return sentence.length <= sentenceMax ? sentence : `${cutText(sentence, sentenceMax - more.length)}${more}`;
}

export function withRollout<W extends ActiveWorld>(world: W, change: Partial<Rollout>): W {
  const after = { ...world.rollout, ...change };
  const course =
    'reason' in after.course ? { ...after.course, reason: bounded(after.course.reason) } : after.course;
  return { ...world, rollout: { ...after, course, reason: bounded(after.reason) } };
}

/** Changes one node of the rollout, and nothing for a node that has no part in it; `sinceMs` follows the phase. */
export function withNode<W extends World>(
  world: W,
  id: string,
  change: Partial<RolloutNode>,
  nowMs: number,
): W {
  const node = world.rollout?.nodes.get(id);
  if (!isActive(world) || node === undefined) return world;
  return withRollout(world, { nodes: withEntry(world.rollout.nodes, id, movedTo(node, change, nowMs)) });
}

/** A node with a change; `sinceMs` follows the phase. */
export function movedTo(node: RolloutNode, change: Partial<RolloutNode>, nowMs: number): RolloutNode {
  const moved = change.state !== undefined && change.state.phase !== node.state.phase;
  const told = change.error && { error: { ...change.error, message: bounded(change.error.message) } };
  return { ...node, ...(moved && { sinceMs: nowMs }), ...change, ...told };
}

/** Puts many nodes of the rollout in their new state at once: one copy for each of them would be their square. */
export function withNodes<W extends World>(world: W, changed: ReadonlyMap<string, RolloutNode>): W {
  if (!isActive(world) || changed.size === 0) return world;
  return withRollout(world, { nodes: new Map([...world.rollout.nodes, ...changed]) });
}

/** Gives a node its next command of a kind. `state` makes the state that carries it. */
export function withCommand<W extends ActiveWorld>(
  world: W,
  node: RolloutNode,
  kind: RolloutCommandKind,
  state: (command: RolloutCommand) => NodeState,
  nowMs: number,
): W {
  const { command, attempts } = nextCommand(world.rollout, node, kind);
  return withNode(world, node.id, { state: state(command), attempts }, nowMs);
}

/** The next command of a kind for a node, and its attempts with it. */
export function nextCommand(
  { id }: Rollout,
  node: RolloutNode,
  kind: RolloutCommandKind,
): { command: RolloutCommand; attempts: RolloutNode['attempts'] } {
  const attempt = (node.attempts[kind] ?? 0) + 1;
  const command = { kind, attempt, id: commandId(id, node.id, kind, attempt) };
  return { command, attempts: { ...node.attempts, [kind]: attempt } };
}

/** Takes a node out of service: a slot, and the time. The caller has seen that the index is free. */
export function takeSlot<W extends ActiveWorld>(
  world: W,
  node: RolloutNode,
  index: string,
  reason: string,
  nowMs: number,
): W {
  const maintenance = world.slots.get(index)?.maintenance ?? null;
  const slot = {
    node: node.id,
    reason,
    rollout: world.rollout.id,
    term: world.term,
    sinceMs: nowMs,
    maintenance,
  };
  return withNode(
    { ...world, slots: withSlot(world.slots, index, slot) },
    node.id,
    { outSinceMs: node.outSinceMs ?? nowMs, backAtMs: null },
    nowMs,
  );
}

/**
 * A node is back as it was: its slot is freed with the state that says so. An operator's own slot is
 * given back to him instead.
 */
export function settle(world: World, id: string, change: Partial<RolloutNode>, nowMs: number): World {
  const held = heldBy(world.slots, id);
  const own = held?.slot.maintenance;
  const slots =
    held !== undefined && own
      ? withSlot(world.slots, held.key, { ...held.slot, rollout: '', reason: own.reason })
      : withoutSlotOf(world.slots, id);
  return withNode({ ...world, slots }, id, { backAtMs: nowMs, ...change }, nowMs);
}

/**
 * A node needs an operator: its slot is kept apart, under its name.
 * @param ended how its command ended; without it, a command that it has is given up
 */
export function strand(
  world: World,
  node: RolloutNode,
  error: Fault,
  nowMs: number,
  ended: EndedCommand | null = givenUp(node),
): World {
  const { id } = node;
  const rollout = world.rollout?.id ?? '';
  const reason = bounded(error.message);
  const slot = { node: id, reason, rollout, term: world.term, sinceMs: nowMs, maintenance: null };
  return withNode(
    { ...world, slots: withStuck(world.slots, slot) },
    id,
    { state: { phase: 'rollback_failed' }, ended, error },
    nowMs,
  );
}

/** The end of a node's command when nobody waits for it any longer; what ended before, when it has none. */
export function givenUp({ state, ended }: RolloutNode): EndedCommand | null {
  const command = openCommand(state);
  return command === undefined ? ended : { commandId: command.id, outcome: 'given_up' };
}

export function holdsSlot(world: World, id: string): boolean {
  return heldBy(world.slots, id) !== undefined;
}

/** The nodes of the rollout in the plan's order. */
export function nodesInOrder(rollout: Rollout): RolloutNode[] {
  return rollout.plan.parts.map((part) => rollout.nodes.get(part.node)).filter((node) => node !== undefined);
}
