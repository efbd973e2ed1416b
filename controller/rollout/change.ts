/** Small steps from one world to the next. Every function returns what it got when nothing changes. */
import { slotOf, withoutSlotOf, withSlot, withStuck } from './budget.js';
import {
  type CommandKind,
  commandId,
  type EndedCommand,
  type Fault,
  type NodeState,
  type OpenCommand,
  openCommand,
  type Rollout,
  type RolloutNode,
} from './rollout.js';
import type { NodeView, World } from './world.js';

const unseen: NodeView = {
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
  seenAtMs: 0,
};

export function viewOf(world: World, node: string): NodeView {
  return world.views.get(node) ?? unseen;
}

export function withView(world: World, node: string, change: Partial<NodeView>): World {
  return { ...world, views: new Map([...world.views, [node, { ...viewOf(world, node), ...change }]]) };
}

/** Characters of a sentence in the state: what many nodes say together must still fit into one value of etcd. */
const sentenceMax = 4_000;

/** A sentence, cut where it is too long to be stored. */
export function bounded(sentence: string): string {
  return sentence.length <= sentenceMax ? sentence : `${sentence.slice(0, sentenceMax)} …`;
}

export function withRollout(world: World, change: Partial<Rollout>): World {
  if (world.rollout === undefined) return world;
  const after = { ...world.rollout, ...change };
  const course =
    'reason' in after.course ? { ...after.course, reason: bounded(after.course.reason) } : after.course;
  return { ...world, rollout: { ...after, course, reason: bounded(after.reason) } };
}

/** Changes one node of the rollout; `sinceMs` follows the phase. */
export function withNode(world: World, id: string, change: Partial<RolloutNode>, nowMs: number): World {
  const node = world.rollout?.nodes.get(id);
  if (world.rollout === undefined || node === undefined) return world;
  const moved = change.state !== undefined && change.state.phase !== node.state.phase;
  const told = change.error && { error: { ...change.error, message: bounded(change.error.message) } };
  const after = { ...node, ...(moved && { sinceMs: nowMs }), ...change, ...told };
  return withRollout(world, { nodes: new Map([...world.rollout.nodes, [id, after]]) });
}

/** Puts many nodes of the rollout in their new state at once. */
export function withNodes(world: World, changed: ReadonlyMap<string, RolloutNode>): World {
  if (world.rollout === undefined || changed.size === 0) return world;
  return withRollout(world, { nodes: new Map([...world.rollout.nodes, ...changed]) });
}

/** Gives a node its next command of a kind. `state` makes the state that carries it. */
export function withCommand(
  world: World,
  node: RolloutNode,
  kind: CommandKind,
  state: (command: OpenCommand) => NodeState,
  nowMs: number,
): World {
  if (world.rollout === undefined) return world;
  const attempt = (node.attempts[kind] ?? 0) + 1;
  const command = { kind, attempt, id: commandId(world.rollout.id, node.id, kind, attempt) };
  return withNode(
    world,
    node.id,
    { state: state(command), attempts: { ...node.attempts, [kind]: attempt } },
    nowMs,
  );
}

/** Takes a node out of service: a slot, and the time. The caller has seen that the index is free. */
export function takeSlot(
  world: World,
  node: RolloutNode,
  index: string,
  reason: string,
  nowMs: number,
): World {
  if (world.rollout === undefined) return world;
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
  const key = slotOf(world.slots, id);
  const slot = key === undefined ? undefined : world.slots.get(key);
  const slots =
    key !== undefined && slot !== undefined && slot.maintenance !== null
      ? withSlot(world.slots, key, { ...slot, rollout: '', reason: slot.maintenance.reason })
      : withoutSlotOf(world.slots, id);
  return withNode({ ...world, slots }, id, { backAtMs: nowMs, ...change }, nowMs);
}

/**
 * A node needs an operator: its slot is kept apart, under its name.
 * @param ended how its command ended; without it, a command that it has is given up
 */
export function strand(
  world: World,
  id: string,
  error: Fault,
  nowMs: number,
  ended: EndedCommand | null = givenUp(world, id),
): World {
  return withNode(
    { ...world, slots: withStuck(world.slots, id, bounded(error.message)) },
    id,
    { state: { phase: 'rollback_failed' }, ended, error },
    nowMs,
  );
}

/** The end of a node's command when nobody waits for it any longer; what ended before, when it has none. */
export function givenUp(world: World, id: string): EndedCommand | null {
  const node = world.rollout?.nodes.get(id);
  const command = node === undefined ? undefined : openCommand(node.state);
  return command === undefined ? (node?.ended ?? null) : { commandId: command.id, outcome: 'given_up' };
}

export function holdsSlot(world: World, id: string): boolean {
  return slotOf(world.slots, id) !== undefined;
}

/** The nodes of the rollout in the plan's order. */
export function nodesInOrder(rollout: Rollout): RolloutNode[] {
  return rollout.plan.parts.flatMap((part) => rollout.nodes.get(part.node) ?? []);
}
