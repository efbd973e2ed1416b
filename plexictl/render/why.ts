/**
 * Why a node does not go on, put together from all that the cluster knows of it: what the active
 * rollout waits for there, that its agent is silent, that somebody holds it or has it in maintenance,
 * that it needs a hand, that the cluster is frozen. Pure. Each reason says what would unblock it, as a
 * command that can be typed where there is one.
 */
import type { Recovery } from '../../gen/plexi/v1/cluster.js';
import type { Node } from '../../gen/plexi/v1/nodes.js';
import { type ClusterStatus, type Rollout, type RolloutNode, Waiting } from '../../gen/plexi/v1/rollouts.js';
import { formatElapsed } from '../duration.js';
import { printable } from './cells.js';
import { isFinal, isSettled } from './phases.js';
import { minuteOf } from './status.js';

/** What is known of one node. */
export interface Why {
  readonly node: Node;
  /** The rollout that is not over, when there is one. */
  readonly rollout: Rollout | undefined;
  /** The node's part in that rollout. */
  readonly part: RolloutNode | undefined;
  /** What it does now, in one sentence; `null` when it only waits. */
  readonly doing: string | null;
  readonly waitingOn: readonly Waiting[];
}

/** Puts together what is known of a node. */
export function whyOf(node: Node, status: ClusterStatus, recovery?: Recovery): Why {
  const rollout = status.rollout !== undefined && !isFinal(status.rollout) ? status.rollout : undefined;
  const part = rollout?.nodes.find(({ id }) => id === node.id);
  const waitingOn = [
    ...operatorReasons(node, part),
    ...restoreReasons(recovery),
    ...(part?.waitingOn ?? [])
      .filter(({ reason }) => !isOfRestore(reason, recovery))
      .map((known) => withWhyPaused(known, rollout)),
    ...silence(node, part),
    ...standing(node),
    ...freezeReasons(status, rollout),
  ];
  const busy = node.order !== '' || (part !== undefined && isBusy(part));
  const doing = waitingOn.length === 0 || busy ? doingText(node, rollout, part) : null;
  return { node, rollout, part, doing, waitingOn };
}

/** What to type next stands first, because nothing else helps before it. */
function operatorReasons(node: Node, part: RolloutNode | undefined): Waiting[] {
  const isStuck = node.needsOperator !== '' || part?.phase === 'rollback_failed';
  if (!isStuck) return [];
  const reason = node.needsOperator || part?.error?.message || 'its way back failed';
  const version = node.version === '' || node.version === 'none' ? 'VERSION' : node.version;
  return [
    waiting(
      `it needs an operator: ${reason}`,
      `put it right on its host (\`plexictl logs ${node.id}\` says what happened), then \`plexictl node confirm ${node.id} --version ${version} --reason TEXT\``,
      part?.since,
    ),
  ];
}

/** A restore of etcd keeps every node where it is, and each of them says which ones it waits for. */
function restoreReasons(recovery: Recovery | undefined): Waiting[] {
  if (recovery === undefined) return [];
  if (recovery.state === 'refused') return [waiting(recovery.reason, '`plexictl cluster re-epoch`')];
  const [first] = recovery.awaited;
  if (first === undefined) return [waiting(recovery.reason, 'a controller that leads')];
  const unblock = `the agents of ${recovery.awaited.join(', ')}; one that is gone: \`plexictl node remove ${first}\``;
  return [waiting(recovery.reason, unblock)];
}

/** The engine says it too, of each node of a rollout, and in fewer words. */
function isOfRestore(reason: string, recovery: Recovery | undefined): boolean {
  return recovery !== undefined && (reason === recovery.reason || reason.startsWith('etcd was restored'));
}

/** Why it is paused, the rollout says once for all of its nodes. */
function withWhyPaused(known: Waiting, rollout: Rollout | undefined): Waiting {
  if (known.reason !== 'the rollout is paused' || rollout === undefined || rollout.reason === '')
    return known;
  return { ...known, reason: `${known.reason}: ${rollout.reason}` };
}

/** The rollout says so itself of its own nodes. */
function silence(node: Node, part: RolloutNode | undefined): Waiting[] {
  if (!node.unknown || (part?.unknown === true && part.waitingOn.length > 0)) return [];
  const where = node.address === '' ? '' : ` at ${node.address}`;
  return [waiting(`its agent${where} cannot be reached`, `start plexi-node-agent on the host of ${node.id}`)];
}

function standing(node: Node): Waiting[] {
  const held = waiting(
    `rollouts are kept away from it: ${node.held}`,
    `\`plexictl node release ${node.id}\``,
  );
  const because = node.outReason === '' ? '' : `: ${node.outReason}`;
  const maintained = waiting(
    `it is in maintenance${because}`,
    `\`plexictl node maintenance off ${node.id}\``,
  );
  return [...(node.held === '' ? [] : [held]), ...(isInMaintenanceByHand(node) ? [maintained] : [])];
}

/** Phases in which no rollout has a node in maintenance. How a rollout ended stays the phase until the next one. */
const phasesInService: readonly string[] = [
  ...['', 'idle', 'maintenance', 'pending', 'preflight', 'staging', 'ready'],
  ...['done', 'skipped', 'rolled_back'],
];

/** During its own turn a rollout has a node in maintenance too; that is work and no reason to wait. */
function isInMaintenanceByHand({ inMaintenance, phase }: Node): boolean {
  return inMaintenance && phasesInService.includes(phase);
}

/** A freeze stops no rollout that runs. */
function freezeReasons({ freeze }: ClusterStatus, rollout: Rollout | undefined): Waiting[] {
  if (freeze === undefined || rollout !== undefined) return [];
  const by = freeze.by === '' ? '' : ` by ${freeze.by}`;
  const reason = `no new rollout starts: the cluster is frozen${by}${freeze.reason === '' ? '' : `: ${freeze.reason}`}`;
  return [waiting(reason, '`plexictl freeze off`', freeze.since)];
}

function waiting(reason: string, unblock: string, since?: Date): Waiting {
  return Waiting.fromPartial({ reason, unblock, ...(since !== undefined && { since }) });
}

function isBusy(part: RolloutNode): boolean {
  return !['pending', 'ready'].includes(part.phase) && !isSettled(part) && !part.unknown;
}

function doingText(node: Node, rollout: Rollout | undefined, part: RolloutNode | undefined): string {
  if (node.order !== '') return `the order of an operator is under way: ${node.order}`;
  if (rollout !== undefined && part !== undefined) {
    const attempt = part.attempt > 1 ? `, try ${part.attempt}` : '';
    return `${part.phase}${attempt} in ${rollout.id} (${rollout.from} → ${rollout.to})`;
  }
  const runs = node.version === '' ? 'it never said what it runs' : `it runs ${node.version}`;
  const health = node.healthReason === '' ? node.health : `${node.health}: ${node.healthReason}`;
  const service = node.inService ? 'in service' : 'not in service';
  return [`nothing is under way; ${runs}`, service, health].filter((fact) => fact !== '').join(', ');
}

/** The text for people: what it does, then each reason with what would unblock it. */
export function whyText(why: Why, cluster: string, nowMs: number): string {
  const { node, part } = why;
  const lines = [`${node.id} in cluster ${cluster}: ${why.doing ?? `waits (${part?.phase ?? node.phase})`}`];
  if (part?.error !== undefined) lines.push(`Failed: ${part.error.message}`);
  if (why.waitingOn.length > 0) lines.push('', 'It waits because');
  for (const reason of why.waitingOn) {
    lines.push(`  - ${reason.reason}${sinceText(reason.since, nowMs)}`);
    if (reason.unblock !== '') lines.push(`    goes on with: ${reason.unblock}`);
  }
  return `${lines.map((line) => indentOf(line) + printable(line)).join('\n')}\n`;
}

function sinceText(since: Date | undefined, nowMs: number): string {
  if (since === undefined) return '';
  return ` (since ${minuteOf(since)}, ${formatElapsed(nowMs - since.getTime())})`;
}

function indentOf(line: string): string {
  return /^ */.exec(line)?.[0] ?? '';
}
