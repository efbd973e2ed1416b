/**
 * After etcd was restored from a snapshot (protocol, rule 21): what etcd says of the nodes may be older
 * than what they did. So nothing at all is sent once the restore was noticed, until an operator says
 * `plexictl cluster re-epoch`; and after that no slot is taken before every node was adopted, or removed.
 * A node that is out by its agent's own word gets the slot that etcd has lost, even above the budget.
 */
import { heldBy, lowestIndex, withoutSlotOf, withStuck } from './budget.js';
import { takeSlot, viewOf, withNode, withView } from './change.js';
import type { AdoptionReport, ReportedJob } from './events.js';
import { isManual, manualCommandId, withManualSlot } from './manual.js';
import { commandId, type Milliseconds, type NodePhase, type RolloutNode, targetVersion } from './rollout.js';
import { isActive, type Slot, type World } from './world.js';

/** What an operator says once etcd was restored on purpose. */
export const reEpochWord = 'plexictl cluster re-epoch';

/** A node knows more than etcd does: nothing is sent any more. */
export function withRestored(world: World, reason: string): World {
  return world.recovery?.kind === 'refused' ? world : { ...world, recovery: { kind: 'refused', reason } };
}

/** A node that joined while the others are adopted is one of them. */
export function withJoined(world: World, node: string): World {
  const { recovery } = world;
  if (recovery?.kind !== 'adopting' || recovery.awaited.has(node)) return world;
  return { ...world, recovery: { ...recovery, awaited: new Set([...recovery.awaited, node]) } };
}

/** Nobody waits for this node any more: it was adopted, or removed. */
export function withoutAwaited(world: World, node: string): World {
  const { recovery } = world;
  if (recovery?.kind !== 'adopting' || !recovery.awaited.has(node)) return world;
  return {
    ...world,
    recovery: { ...recovery, awaited: new Set([...recovery.awaited].filter((id) => id !== node)) },
  };
}

/** The last node was adopted: the cluster is as it was before the restore. */
export function settleRecovery(world: World): World {
  const { recovery } = world;
  return recovery?.kind === 'adopting' && recovery.awaited.size === 0 ? { ...world, recovery: null } : world;
}

/**
 * Whether a node must be adopted although nothing is to be sent to it: only its journal tells why it is out,
 * when it is. That goes for every node after a restore, and for one that joined, or was let back.
 */
export function isAwaited(world: World, node: string): boolean {
  const isRestored = world.recovery?.kind === 'adopting' && world.recovery.awaited.has(node);
  return isRestored || viewOf(world, node).joined;
}

/**
 * The slot of a node that was awaited, made from what its agent says, even above the budget: it is out of
 * service already (protocol, rule 20). Nothing for any other node.
 */
export function rebuildSlot(world: World, node: string, report: AdoptionReport, nowMs: Milliseconds): World {
  if (!isAwaited(world, node)) return world;
  const known = withView(withoutAwaited(world, node), node, { joined: false });
  const held = heldBy(known.slots, node);
  // What an operator has begun there ends soon; then its agent says whether it is out.
  if (held === undefined && isBetween(report))
    return withView(world, node, { retryAtMs: nowMs + adoptAgainMs });
  if (held !== undefined) return isGivenBack(held.slot, report) ? withoutSlot(known, node) : known;
  const resumed = resumeLost(known, node, report, nowMs);
  if (resumed !== known) return resumed;
  // A new node that serves and asks is not out because of us; one that etcd has forgotten may be.
  const isJoiner = viewOf(world, node).joined;
  if (report.needsOperator !== '' && (report.inMaintenance || !isJoiner))
    return withLostSlot(known, node, report.needsOperator, nowMs);
  const open = report.jobs.find(({ ended }) => !ended);
  if (!report.inMaintenance && (open === undefined || open.rollout === '')) return known;
  // Whoever puts a node on the list that never did anything has put it out by hand.
  const isNew = isJoiner && report.jobs.length === 0;
  return isByHand(report) || isNew
    ? withManualSlot(known, node, nowMs)
    : withLostSlot(known, node, lostReason(report), nowMs);
}

/** Milliseconds until an agent is asked again that was at an operator's command. */
const adoptAgainMs = 1_000;

/** Whether it is on its way out of service, or back, by an operator's own command. */
function isBetween({ inMaintenance, needsOperator, jobs }: AdoptionReport): boolean {
  return inMaintenance && needsOperator === '' && jobs.some(({ ended, rollout }) => !ended && rollout === '');
}

/** Phases of a node that a rollout has not touched yet. */
const untouched: readonly NodePhase[] = ['pending', 'preflight', 'staging', 'ready'];

/**
 * The active rollout had sent this node further than etcd remembers. The same command is open again, so
 * that the agent is asked for it under the id by which it knows it.
 */
function resumeLost(world: World, id: string, report: AdoptionReport, nowMs: Milliseconds): World {
  if (!isActive(world)) return world;
  const { rollout } = world;
  const node = rollout.nodes.get(id);
  if (node === undefined || !untouched.includes(node.state.phase)) return world;
  const job = report.jobs.findLast((candidate) => isLostUpgrade(rollout.id, node, candidate));
  if (job === undefined) return world;
  const reason = `upgrade to ${targetVersion(rollout, id)}, by its agent's word`;
  const command = { kind: 'upgrade', id: job.commandId, attempt: job.attempt } as const;
  const attempts = { ...node.attempts, upgrade: job.attempt };
  const index = lowestIndex(world.slots);
  // An operator who had the node out before the command gets the slot back.
  const held = job.foundInMaintenance ? withManualSlot(world, id, nowMs) : world;
  const taken = takeSlot(held, node, index, reason, nowMs);
  return withNode(
    taken,
    id,
    { state: { phase: 'entering_maintenance', command }, attempts, error: null },
    nowMs,
  );
}

function isLostUpgrade(rollout: string, node: RolloutNode, job: ReportedJob): boolean {
  const isNewer = job.attempt > (node.attempts.upgrade ?? 0);
  return isNewer && job.commandId === commandId(rollout, node.id, 'upgrade', job.attempt);
}

/**
 * An operator's own maintenance that was ended after the snapshot. A command that puts the node back tells its
 * end itself, once it is sent again: it may have failed.
 */
function isGivenBack(slot: Slot, report: AdoptionReport): boolean {
  if (!isManual(slot) || report.inMaintenance || slot.maintenance.wanted === 'out') return false;
  if (slot.maintenance.done) return true;
  return report.jobs.some((job) => job.commandId === manualCommandId(slot) && job.ended);
}

/**
 * Whether the node is out by an operator's own maintenance, and by nothing that was done to it since: a job
 * that has ended leaves a node as it found it, or asks for an operator.
 */
function isByHand({ jobs }: AdoptionReport): boolean {
  const cause = causeOf(jobs);
  return cause === undefined ? jobs.length > 0 : cause.commandId.startsWith('maintenance.');
}

/** The job since which a node is out; undefined when it was out before all that the journal holds. */
function causeOf(jobs: readonly ReportedJob[]): ReportedJob | undefined {
  return jobs.findLast(({ ended, foundInMaintenance }) => !ended || !foundInMaintenance);
}

function lostReason({ jobs }: AdoptionReport): string {
  const cause = causeOf(jobs);
  const why = cause === undefined ? 'and its journal does not say why' : `since ${cause.commandId}`;
  return `it is out of service, ${why}, and etcd knows nothing of it`;
}

function withoutSlot(world: World, node: string): World {
  return { ...world, slots: withoutSlotOf(world.slots, node) };
}

/** Nobody knows any more what is to be done with it: it is an operator's. */
function withLostSlot(world: World, node: string, reason: string, nowMs: Milliseconds): World {
  const slot: Slot = { node, reason, rollout: '', term: world.term, sinceMs: nowMs, maintenance: null };
  return { ...world, slots: withStuck(world.slots, slot) };
}
