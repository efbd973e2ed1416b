/**
 * Why a node does not go on: each reason, since when, and what would let it go on. The words hold no
 * numbers that move, so that a waiting node costs no writes (semantics S26).
 */
import { freeIndex, isStuck, joinersOut, slotOf } from './budget.js';
import { bounded, viewOf, withNodes } from './change.js';
import { isManual } from './manual.js';
import { hasOpenOrder } from './orders.js';
import { reEpochWord } from './recovery.js';
import { isTouched } from './rollback.js';
import { isFinal, openCommand, type Rollout, type RolloutNode, type WaitReason } from './rollout.js';
import { countSpread, type SpreadCount, whyNotOut } from './spread.js';
import { openWave } from './starts.js';
import type { World } from './world.js';

type Reason = Omit<WaitReason, 'sinceMs'>;

/** Brings every node's reasons up to date; a reason that stays keeps its time. */
export function explainWaiting(world: World, nowMs: number): World {
  const { rollout } = world;
  if (rollout === undefined) return world;
  const changed = new Map<string, RolloutNode>();
  const scene = isFinal(rollout.phase) ? undefined : sceneOf(world, rollout);
  for (const node of rollout.nodes.values()) {
    const reasons = scene === undefined ? [] : reasonsOf(scene, node).map(boundedReason);
    if (sameReasons(node.waitingOn, reasons)) continue;
    const waitingOn = reasons.map((reason) => ({
      ...reason,
      sinceMs: node.waitingOn.find((before) => before.reason === reason.reason)?.sinceMs ?? nowMs,
    }));
    changed.set(node.id, { ...node, waitingOn });
  }
  return withNodes(world, changed);
}

/** What is the same for every node, worked out once. */
interface Scene {
  readonly world: World;
  readonly rollout: Rollout;
  /** Nodes of later waves than the open one. */
  readonly behind: ReadonlySet<string>;
  /** The lowest wave with a node that has not ended. */
  readonly wave: number;
  readonly forCapacity: Reason;
  readonly spread: SpreadCount;
}

function sceneOf(world: World, rollout: Rollout): Scene {
  const wave = openWave(rollout);
  const behind = new Set(rollout.plan.parts.filter((part) => part.wave > wave).map(({ node }) => node));
  const goingBack = rollout.course.kind === 'back' || rollout.plan.header.direction === 'back';
  const spread = countSpread(world, goingBack);
  return { world, rollout, behind, wave, spread, forCapacity: capacityReason(world, rollout) };
}

function reasonsOf(scene: Scene, node: RolloutNode): Reason[] {
  const { world, rollout } = scene;
  const { phase } = node.state;
  const isToGoBack = rollout.course.kind === 'back' && isTouched(node);
  const waitsToStart = phase === 'ready' || phase === 'pending';
  const slot = slotOf(world.slots, node.id);
  const needsOperator =
    phase === 'rollback_failed' || ((waitsToStart || isToGoBack) && slot !== undefined && isStuck(slot));
  return [
    ...(isThrough(node) && !isToGoBack ? [] : afterRestore(world)),
    ...(phase === 'done' && !isToGoBack ? [] : whileSilent(scene, node)),
    ...(phase === 'soaking' ? [soakReason(rollout)] : []),
    ...(needsOperator ? [operatorReason(node)] : []),
    ...startByHand(world, node),
    ...(isToGoBack ? beforeGoingBack(scene, node) : []),
    ...(waitsToStart ? beforeStart(scene, node) : []),
  ];
}

/** Nothing more is to be done on it, unless the rollout goes back. */
function isThrough({ state }: RolloutNode): boolean {
  return state.phase === 'done' || state.phase === 'skipped';
}

/** What keeps a node from going on since etcd was restored. */
function afterRestore({ recovery }: World): Reason[] {
  if (recovery === null) return [];
  if (recovery.kind === 'refused') return [{ reason: recovery.reason, unblock: reEpochWord }];
  const unblock = `the adoption of the nodes that plexictl why names; one that is gone: plexictl node remove NODE`;
  return [{ reason: 'etcd was restored, and not every node was adopted since', unblock }];
}

function whileSilent({ world, rollout }: Scene, node: RolloutNode): Reason[] {
  if (node.silence === null) return [];
  const { unknownMaxMs } = rollout.plan.header.policy;
  return [
    {
      reason: viewOf(world, node.id).refusal?.message ?? 'it cannot be reached',
      unblock: `its agent answers; after ${Math.round(unknownMaxMs / 1000)} s it counts as lost`,
    },
  ];
}

function soakReason({ plan }: Rollout): Reason {
  return {
    reason: `it must stay healthy for ${plan.header.policy.soakMs} ms`,
    unblock: 'time, and good probes',
  };
}

function operatorReason({ id }: RolloutNode): Reason {
  return {
    reason: 'it needs an operator',
    unblock: `a look at it with plexictl logs ${id}; once it is put right: plexictl node confirm ${id} --version VERSION --reason TEXT`,
  };
}

function startByHand(world: World, { id, state }: RolloutNode): Reason[] {
  const { waitsFor } = viewOf(world, id);
  if (openCommand(state) === undefined || waitsFor === '') return [];
  return [{ reason: 'its service is to be started by a person', unblock: waitsFor }];
}

const orderReason: Reason = {
  reason: "an operator's order is under way on it",
  unblock: 'the end of that order',
};

/** What keeps a node that is through with its upgrade from being taken back; rollback.ts asks the same. */
function beforeGoingBack({ world, spread, forCapacity }: Scene, { id, silence }: RolloutNode): Reason[] {
  if (hasOpenOrder(world, id)) return [orderReason];
  const keeping = whyNotOut(spread, id);
  if (keeping !== undefined) return [keeping];
  // Its silence is told already, and a restore of etcd leaves nothing to be counted.
  if (silence !== null || world.recovery !== null) return [];
  if (!viewOf(world, id).reachable)
    return [{ reason: 'the leader has not heard it yet', unblock: 'the first word of its agent' }];
  return slotOf(world.slots, id) === undefined ? [forCapacity] : [];
}

function beforeStart(scene: Scene, node: RolloutNode): Reason[] {
  const { world, rollout, behind, wave, forCapacity } = scene;
  switch (rollout.course.kind) {
    case 'paused':
      // Why, the rollout itself says: here it would be told once for each node.
      return [{ reason: 'the rollout is paused', unblock: waysOn(rollout) }];
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
  if (hasOpenOrder(world, node.id)) return [orderReason];
  const held = world.holds.get(node.id);
  if (held !== undefined && rollout.plan.header.direction === 'forward') {
    return [
      {
        reason: `${held.by} keeps rollouts away from it${held.reason === '' ? '' : `: ${held.reason}`}`,
        unblock: `plexictl node release ${node.id}, or plexictl skip --node ${node.id}`,
      },
    ];
  }
  if (behind.has(node.id))
    return [{ reason: `wave ${wave} is not over`, unblock: 'the end of its last soak' }];
  const keeping = whyNotOut(scene.spread, node.id);
  return keeping === undefined ? [forCapacity] : [keeping];
}

/** What an operator can say to a paused rollout. */
function waysOn(rollout: Rollout): string {
  const failed = [...rollout.nodes.values()].find(
    (node) => node.state.phase === 'rolled_back' && node.error !== null,
  );
  if (rollout.course.kind !== 'paused' || rollout.course.by === 'operator' || failed === undefined)
    return 'plexictl resume';
  return `plexictl retry --node ${failed.id}, plexictl skip --node ${failed.id}, or plexictl abort --rollback`;
}

function capacityReason(world: World, rollout: Rollout): Reason {
  const byHand = [...world.slots.values()].filter(isManual);
  if (byHand.length > 0 && freeIndex(world) === undefined) {
    const names = byHand.map((slot) => slot.node).join(', ');
    return {
      reason: `the budget is spent, on ${names} too, in maintenance by an operator`,
      unblock: `plexictl node maintenance off ${byHand[0]?.node}`,
    };
  }
  const joined = joinersOut(world);
  if (joined.length > 0 && freeIndex(world) === undefined) {
    return {
      reason: `the budget is spent, on ${joined.join(', ')} too, which came to the list out of service`,
      unblock: `its adoption; plexictl why ${joined[0]} says what is in its way`,
    };
  }
  const max = rollout.plan.header.policy.maxConcurrent;
  const reason = `at most ${max} ${max === 1 ? 'node' : 'nodes'} may be out of service, and others go`;
  return rollout.course.kind === 'back'
    ? { reason: `${reason} back first`, unblock: 'the way back of a node before it' }
    : { reason: `${reason} first`, unblock: 'the end of the soak of a node before it' };
}

function boundedReason({ reason, unblock }: Reason): Reason {
  return { reason: bounded(reason), unblock: bounded(unblock) };
}

function sameReasons(before: readonly WaitReason[], after: readonly Reason[]): boolean {
  return (
    before.length === after.length &&
    after.every(
      ({ reason, unblock }, index) => before[index]?.reason === reason && before[index]?.unblock === unblock,
    )
  );
}
