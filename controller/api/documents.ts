/** What is stored, as the documents that clients get. Pure. */
import { Recovery as RecoveryDocument } from '../../gen/plexi/v1/cluster.js';
import { Node } from '../../gen/plexi/v1/nodes.js';
import {
  Freeze,
  Leader,
  Plan,
  Rollout as RolloutDocument,
  RolloutNode as RolloutNodeDocument,
} from '../../gen/plexi/v1/rollouts.js';
import type { EtcdEntry } from '../leadership/etcd.js';
import type { NodeFacts, PlannedRollout } from '../rollout/plan-inputs.js';
import { openCommand, type Rollout, type RolloutNode, upgradingPhases } from '../rollout/rollout.js';
import type { Recovery, Slot } from '../rollout/world.js';
import { countPhases } from '../state/codec.js';
import type { ClusterKeys } from '../state/keys.js';
import type { StoredNode } from '../state/node-store.js';
import { decode, leaderRecord } from '../state/records.js';

/** The leader; undefined when there is none. */
export function leaderDocument(keys: ClusterKeys, entry: EtcdEntry | undefined): Leader | undefined {
  if (entry === undefined) return undefined;
  const { id, address, epoch } = decode(leaderRecord, keys.leader, entry.value);
  return Leader.fromPartial({ id, address, epoch: BigInt(epoch), term: entry.createRevision });
}

/** @param withNodes false for lists, which would grow with nodes times rollouts */
export function rolloutDocument(rollout: Rollout, withNodes = true): RolloutDocument {
  const { header } = rollout.plan;
  return RolloutDocument.fromPartial({
    id: rollout.id,
    from: header.from,
    to: header.to,
    phase: rollout.phase,
    reason: rollout.reason,
    startedAt: new Date(rollout.startedAtMs),
    ...(rollout.finishedAtMs !== null && { finishedAt: new Date(rollout.finishedAtMs) }),
    startedBy: rollout.startedBy,
    planDigest: rollout.plan.digest,
    counts: countPhases(rollout),
    nodes: withNodes
      ? rollout.plan.parts.flatMap((part) => nodeDocument(rollout.nodes.get(part.node), part.from.version))
      : [],
    maxConcurrent: header.policy.maxConcurrent,
    estimateMs: BigInt(header.estimateMs),
    exitCode: rollout.exitCode ?? 0,
  });
}

function nodeDocument(node: RolloutNode | undefined, from: string): RolloutNodeDocument[] {
  if (node === undefined) return [];
  const command = openCommand(node.state);
  return [
    RolloutNodeDocument.fromPartial({
      id: node.id,
      phase: node.state.phase,
      step: command?.kind ?? '',
      attempt: command?.attempt ?? 0,
      version: node.release.version,
      ...(node.error !== null && { error: node.error }),
      unknown: node.silence !== null,
      waitingOn: node.waitingOn.map(({ reason, sinceMs, unblock }) => ({
        reason,
        since: new Date(sinceMs),
        unblock,
      })),
      since: new Date(node.sinceMs),
      ...(node.outSinceMs !== null && { outSince: new Date(node.outSinceMs) }),
      ...(node.backAtMs !== null && { backAt: new Date(node.backAtMs) }),
      from,
    }),
  ];
}

export function planDocument(planned: PlannedRollout, cluster: string, requireConfirmation: boolean): Plan {
  const { plan, warnings, problems } = planned;
  const { header } = plan;
  return Plan.fromPartial({
    from: header.from,
    to: header.to,
    digest: plan.digest,
    nodes: plan.parts.map((part) => ({
      id: part.node,
      from: part.from.version,
      to: part.to.version,
      strategy: part.strategy,
      wave: part.wave,
      orderReason: part.orderReason,
      migrations: part.migrations.map((migration) => migration.id),
      estimateMs: BigInt(part.estimateMs),
    })),
    maxConcurrent: header.policy.maxConcurrent,
    warnings: [...warnings],
    problems: [...problems],
    pointOfNoReturn: header.pointOfNoReturn,
    steps: header.stageOnly ? ['preflight', 'staging'] : [...upgradingPhases, 'soaking'],
    stageOnly: header.stageOnly,
    estimateMs: BigInt(header.estimateMs),
    requireConfirmation,
    cluster,
  });
}

/** A node with all that is known of it. */
export interface ListedNode extends StoredNode {
  readonly facts: NodeFacts;
  /** The slot it holds; undefined: none. */
  readonly slot: Slot | undefined;
  /** It needs an operator. */
  readonly isStuck: boolean;
}

/** One line of the list of nodes. */
export function nodeListDocument({ id, spec, status, facts, slot, isStuck }: ListedNode): Node {
  const unknown = status?.unknown ?? true;
  const inMaintenance = status?.inMaintenance ?? false;
  return Node.fromPartial({
    id,
    version: status?.version ?? '',
    digest: status?.digest ?? '',
    phase: status?.phase ?? 'idle',
    health: unknown ? 'unknown' : (status?.health ?? 'unknown'),
    unknown,
    inService: !unknown && slot === undefined && !inMaintenance && status?.health === 'healthy',
    address: spec.address,
    labels: spec.labels,
    ...(status !== undefined && { since: new Date(status.since) }),
    agentVersion: status?.agentVersion ?? '',
    inMaintenance,
    held: facts.held === null ? '' : facts.held || 'no reason given',
    needsOperator: isStuck ? (slot?.reason ?? '') : (status?.needsOperator ?? ''),
    healthReason: unknown ? '' : (status?.healthReason ?? ''),
    outReason: slot?.reason ?? '',
    order: facts.order,
  });
}

/** The freeze that is on; undefined when there is none. */
export function freezeDocument(
  freeze: { reason: string; by: string; since: number } | undefined,
): Freeze | undefined {
  return freeze && Freeze.fromPartial({ ...freeze, since: new Date(freeze.since) });
}

/** What follows a restore of etcd, for whoever asks. */
export function recoveryDocument(recovery: Recovery): RecoveryDocument {
  if (recovery.kind === 'refused')
    return RecoveryDocument.fromPartial({ state: 'refused', reason: recovery.reason });
  const reason = 'etcd was restored, and no node is taken out of service before every node was adopted since';
  return RecoveryDocument.fromPartial({ state: 'adopting', reason, awaited: [...recovery.awaited].sort() });
}
