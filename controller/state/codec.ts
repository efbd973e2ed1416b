/** The engine's nouns as values in etcd, and back. Pure. */

import { PlexiError } from '../../config/errors.js';
import {
  type NodeState,
  openCommand,
  type PlanHeader,
  type PlanPart,
  type Rollout,
  type RolloutCommand,
  type RolloutNode,
  type Silence,
  upgradingPhases,
} from '../rollout/rollout.js';
import type { Hold, NodeOrder, Slot } from '../rollout/world.js';
import {
  decode,
  holdRecord,
  orderRecord,
  planHeaderRecord,
  planPartRecord,
  type RolloutNodeValue,
  type RolloutStateValue,
  rolloutNodeRecord,
  rolloutStateRecord,
  slotRecord,
  timeText,
} from './records.js';

export function slotValue(slot: Slot): object {
  return {
    node: slot.node,
    reason: slot.reason,
    rollout: slot.rollout,
    term: slot.term,
    since: timeText(slot.sinceMs),
    ...(slot.maintenance !== null && { maintenance: slot.maintenance }),
  };
}

export function readSlot(key: string, text: string): Slot {
  const { since, ...slot } = decode(slotRecord, key, text);
  return { ...slot, sinceMs: since };
}

export function holdValue(hold: Hold): object {
  return { reason: hold.reason, by: hold.by, since: timeText(hold.sinceMs) };
}

export function readHold(key: string, text: string): Hold {
  const { since, ...hold } = decode(holdRecord, key, text);
  return { ...hold, sinceMs: since };
}

export function orderValue({ sinceMs, ...order }: NodeOrder): object {
  return { ...order, since: timeText(sinceMs) };
}

export function readOrder(key: string, text: string): NodeOrder {
  const { since, ...order } = decode(orderRecord, key, text);
  return { ...order, sinceMs: since };
}

export function nodeValue(node: RolloutNode): object {
  const command = openCommand(node.state);
  return {
    phase: node.state.phase,
    step: command?.kind ?? '',
    attempt: command?.attempt ?? 0,
    commandId: command?.id ?? '',
    since: timeText(node.sinceMs),
    error: node.error,
    ended: node.ended,
    waitingOn: node.waitingOn.map(({ reason, sinceMs, unblock }) => ({
      reason,
      since: timeText(sinceMs),
      unblock,
    })),
    unknown: node.silence !== null,
    unknownSince: nullableTime(node.silence?.sinceMs ?? null),
    unknownForMs: node.silence?.countedMs ?? 0,
    unknownCountedAt: nullableTime(node.silence?.countedAtMs ?? null),
    attempts: node.attempts,
    checked: node.checked,
    outSince: nullableTime(node.outSinceMs),
    backAt: nullableTime(node.backAtMs),
    release: node.release,
    backupId: node.backupId,
  };
}

export function readNode(id: string, key: string, text: string): RolloutNode {
  const value = decode(rolloutNodeRecord, key, text);
  return {
    id,
    state: stateOf(key, value),
    attempts: value.attempts,
    sinceMs: value.since,
    error: value.error,
    ended: value.ended,
    waitingOn: value.waitingOn.map(({ reason, since, unblock }) => ({ reason, sinceMs: since, unblock })),
    silence: silenceOf(value),
    checked: value.checked,
    outSinceMs: value.outSince,
    backAtMs: value.backAt,
    release: value.release,
    backupId: value.backupId,
  };
}

/** A record of before the counting says since when alone. */
function silenceOf({ unknownSince, unknownForMs, unknownCountedAt }: RolloutNodeValue): Silence | null {
  if (unknownSince === null) return null;
  return { sinceMs: unknownSince, countedMs: unknownForMs, countedAtMs: unknownCountedAt ?? unknownSince };
}

function stateOf(key: string, value: RolloutNodeValue): NodeState {
  const { phase } = value;
  switch (phase) {
    case 'pending':
    case 'ready':
    case 'soaking':
    case 'done':
    case 'skipped':
    case 'rolled_back':
    case 'rollback_failed':
      return { phase };
    case 'preflight':
    case 'staging':
    case 'rolling_back':
      return { phase, command: commandOf(key, value) };
    default:
      return { phase, command: commandOf(key, value) };
  }
}

function commandOf(key: string, value: RolloutNodeValue): RolloutCommand {
  if (value.step === '' || value.commandId === '') {
    throw new PlexiError(
      'STORE_INVALID',
      `${key} is ${value.phase} but names no command; put it right, or restore etcd`,
    );
  }
  return { kind: value.step, id: value.commandId, attempt: value.attempt };
}

export function stateValue(rollout: Rollout, term: string): object {
  return {
    phase: rollout.phase,
    reason: rollout.reason,
    counts: countPhases(rollout),
    term,
    course: rollout.course,
    startedAt: timeText(rollout.startedAtMs),
    startedBy: rollout.startedBy,
    requestId: rollout.requestId,
    finishedAt: nullableTime(rollout.finishedAtMs),
    exitCode: rollout.exitCode,
    forgiven: rollout.forgiven,
  };
}

export function readState(key: string, text: string): RolloutStateValue {
  return decode(rolloutStateRecord, key, text);
}

export function readHeader(key: string, text: string): PlanHeader {
  return decode(planHeaderRecord, key, text);
}

export function readPart(key: string, text: string): PlanPart {
  return decode(planPartRecord, key, text);
}

/** Nodes by node phase, in the order of the phases. */
export function countPhases(rollout: Pick<Rollout, 'nodes'>): Record<string, number> {
  const order: readonly string[] = [
    'pending',
    'preflight',
    'staging',
    'ready',
    ...upgradingPhases,
    'soaking',
    'done',
    'skipped',
    'rolling_back',
    'rolled_back',
    'rollback_failed',
  ];
  const counts = new Map<string, number>();
  for (const node of rollout.nodes.values())
    counts.set(node.state.phase, (counts.get(node.state.phase) ?? 0) + 1);
  return Object.fromEntries(
    order.flatMap((phase) => (counts.has(phase) ? [[phase, counts.get(phase) ?? 0]] : [])),
  );
}

function nullableTime(ms: number | null): string | null {
  return ms === null ? null : timeText(ms);
}
