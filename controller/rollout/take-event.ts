/**
 * What an event says is entered into the world, and nothing is decided yet. An event that is late,
 * or meant for another command, changes nothing.
 */
import { withoutSlotOf } from './budget.js';
import { strand, viewOf, withNode, withView } from './change.js';
import type { EngineEvent } from './events.js';
import { failMaintenance, wishMaintenance } from './manual.js';
import { failOrder, withOrder } from './orders.js';
import { rebuildSlot, withJoined, withoutAwaited, withRestored } from './recovery.js';
import {
  type Fault,
  firstNode,
  isUpgrading,
  type Rollout,
  type UpgradingPhase,
  upgradingPhases,
} from './rollout.js';
import { withSilence } from './silence.js';
import { takeResult, workingOn } from './take-result.js';
import { takeWish } from './wishes.js';
import type { Hold, World } from './world.js';

/** Milliseconds before a command is sent again after a stream broke, or the node was busy. */
const retryMs = 300;
/** Milliseconds before a node that refused is asked again. */
const refusedRetryMs = 3_000;

export function takeEvent(world: World, event: EngineEvent, nowMs: number): World {
  switch (event.kind) {
    case 'tick':
      return world;
    case 'start':
      return world.rollout === undefined ? begin(world, event, nowMs) : world;
    case 'wish':
      return takeWish(world, event.wish, nowMs);
    case 'maintenance':
      return wishMaintenance(world, event.node, event.on, event.reason, nowMs);
    case 'hold':
      return withHold(world, event.node, event.hold);
    case 'order':
      return withOrder(world, event.node, event.order);
    case 'removed':
      return takeRemoval(world, event.node, nowMs);
    case 'observed':
      return takeObservation(world, event, nowMs);
    case 'unreachable':
      return withSilence(
        withView(world, event.node, { reachable: false, adopted: false, adopting: false, inFlight: null }),
        event.node,
        nowMs,
      );
    case 'adopted':
      return rebuildSlot(
        withoutSilence(
          withView(world, event.node, { adopted: true, adopting: false, refusal: null }),
          event.node,
          nowMs,
        ),
        event.node,
        event.report ?? { inMaintenance: false, needsOperator: '', jobs: [] },
        nowMs,
      );
    case 'restored':
      return withRestored(world, event.reason);
    case 'joined':
      return withView(withJoined(world, event.node), event.node, { joined: true });
    case 'adoption_failed':
      return takeAdoptionFailure(world, event.node, event.fault, nowMs);
    case 'progress':
      return takeProgress(world, event, nowMs);
    case 'finished':
      return takeResult(world, event.node, event.commandId, event.outcome, nowMs);
    case 'stream_broken':
      return viewOf(world, event.node).inFlight === event.commandId
        ? withView(world, event.node, { inFlight: null, retryAtMs: nowMs + retryMs })
        : world;
    case 'refused':
      return takeRefusal(world, event, nowMs);
  }
}

/** A node that is off the list holds nothing up: its slot is free, and nobody waits to take it back or to see to it. */
function takeRemoval(world: World, id: string, nowMs: number): World {
  const orders = new Map([...world.orders].filter(([node]) => node !== id));
  const unheld = withoutAwaited(withHold(world, id, null), id);
  const labels = new Map([...world.labels].filter(([node]) => node !== id));
  const views = new Map([...world.views].filter(([node]) => node !== id));
  const freed = { ...unheld, orders, labels, views, slots: withoutSlotOf(world.slots, id) };
  const phase = world.rollout?.nodes.get(id)?.state.phase;
  return phase === 'done' || phase === 'rollback_failed'
    ? withNode(freed, id, { state: { phase: 'skipped' }, error: null }, nowMs)
    : freed;
}

function begin(world: World, event: Extract<EngineEvent, { kind: 'start' }>, nowMs: number): World {
  const { plan } = event;
  const rollout: Rollout = {
    id: event.id,
    plan,
    phase: 'planned',
    reason: '',
    course: { kind: 'forward' },
    startedAtMs: nowMs,
    startedBy: event.by,
    requestId: event.requestId,
    finishedAtMs: null,
    exitCode: null,
    forgiven: [],
    nodes: new Map(plan.parts.map((part) => [part.node, firstNode(part, nowMs)])),
  };
  const max = plan.header.policy.maxConcurrent;
  const budget = max === world.budget.max ? world.budget : { max, generation: world.budget.generation + 1 };
  return { ...world, rollout, budget };
}

function withHold(world: World, node: string, hold: Hold | null): World {
  const holds = new Map([...world.holds].filter(([id]) => id !== node));
  if (hold !== null) holds.set(node, hold);
  return { ...world, holds };
}

function takeObservation(
  world: World,
  event: Extract<EngineEvent, { kind: 'observed' }>,
  nowMs: number,
): World {
  const { node, observation } = event;
  const seen = withView(world, node, { ...observation, reachable: true, seenAtMs: nowMs });
  return viewOf(seen, node).refusal === null ? withoutSilence(seen, node, nowMs) : seen;
}

/** A node that answers, and obeys, is not silent any longer. */
function withoutSilence(world: World, node: string, nowMs: number): World {
  const silence = world.rollout?.nodes.get(node)?.silence ?? null;
  return silence === null ? world : withNode(world, node, { silence: null }, nowMs);
}

/** A node that answers but refuses to be adopted is as good as unreachable, and its reason is shown. */
function takeAdoptionFailure(world: World, id: string, fault: Fault, nowMs: number): World {
  const isSilent = fault.code === 'NODE_UNREACHABLE';
  const pauseMs = isSilent ? retryMs : refusedRetryMs;
  const next = withView(world, id, {
    adopting: false,
    retryAtMs: nowMs + pauseMs,
    refusal: isSilent ? null : fault,
  });
  return isSilent ? next : withSilence(next, id, nowMs);
}

/** Phases only go forward: a replayed stream must not make a node look earlier than it is. */
function takeProgress(
  world: World,
  { node: id, commandId, phase, waitsFor }: Extract<EngineEvent, { kind: 'progress' }>,
  nowMs: number,
): World {
  const working = workingOn(world, id, commandId);
  if (working === undefined) return world;
  const { node, command } = working;
  const heard = viewOf(world, id).waitsFor === waitsFor ? world : withView(world, id, { waitsFor });
  if (phase === 'rolling_back')
    return withNode(heard, id, { state: { phase: 'rolling_back', command } }, nowMs);
  if (!isUpgrading(node.state) || !isUpgradingPhase(phase)) return heard;
  const ahead = upgradingPhases.indexOf(phase) > upgradingPhases.indexOf(node.state.phase);
  return ahead ? withNode(heard, id, { state: { phase, command } }, nowMs) : heard;
}

function isUpgradingPhase(phase: string): phase is UpgradingPhase {
  return (upgradingPhases as readonly string[]).includes(phase);
}

function takeRefusal(world: World, event: Extract<EngineEvent, { kind: 'refused' }>, nowMs: number): World {
  const { node, commandId, fault } = event;
  if (viewOf(world, node).inFlight !== commandId) return world;
  const free = withView(world, node, { inFlight: null, retryAtMs: nowMs + retryMs });
  switch (fault.code) {
    case 'BUSY':
      return free;
    case 'STALE_TOKEN':
    case 'FENCE_UNREADABLE':
      return withView(free, node, { adopted: false });
    default:
      return takeFinalRefusal(free, node, commandId, fault, nowMs);
  }
}

/** Codes that an agent gives before its intent is on the disk: nothing was touched. */
const refusedUntouched: readonly string[] = ['NODE_CHANGED', 'LIMIT_EXCEEDED', 'VERSION_INVALID'];

/**
 * A node that will not obey. It is as it was only when it says so before it ever began; any other
 * refusal may come in the middle of an upgrade (a journal that cannot be written), so the node keeps
 * its slot and needs an operator.
 */
function takeFinalRefusal(world: World, id: string, commandId: string, fault: Fault, nowMs: number): World {
  const working = workingOn(world, id, commandId);
  if (working === undefined)
    return failOrder(failMaintenance(world, id, commandId, fault.message), id, commandId, fault.message);
  const { node, command } = working;
  const isCheck = command.kind === 'preflight' || command.kind === 'stage';
  const isUntouched = node.state.phase === 'entering_maintenance' && refusedUntouched.includes(fault.code);
  if (!isCheck && !isUntouched) return strand(world, node, fault, nowMs);
  const outcome = {
    outcome: 'failed',
    failure: fault,
    failedStep: '',
    release: node.release,
    problems: [],
    backupId: '',
    inMaintenance: false,
  } as const;
  return takeResult(world, id, commandId, outcome, nowMs);
}
