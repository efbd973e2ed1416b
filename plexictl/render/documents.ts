/**
 * The JSON documents of the contract (section 6), made from the answers of the controllers. The names
 * here are what scripts rely on: a key may be added, none may go. What is absent is `null`, times are
 * RFC 3339 in UTC, and the 64-bit figures of the protocol are plain numbers.
 */
import type { AuditRecord, AuditVerification } from '../../gen/plexi/v1/audit.js';
import type { Node } from '../../gen/plexi/v1/nodes.js';
import type {
  ClusterStatus,
  Freeze,
  Leader,
  Plan,
  Rollout,
  RolloutNode,
  Waiting,
} from '../../gen/plexi/v1/rollouts.js';
import type { Why } from './why.js';

/** `plexictl nodes`. */
export function nodesDocument(nodes: readonly Node[]) {
  return {
    nodes: nodes.map((node) => ({
      id: node.id,
      version: textOrNull(node.version),
      digest: textOrNull(node.digest),
      phase: textOrNull(node.phase),
      health: textOrNull(node.health),
      unknown: node.unknown,
      inService: node.inService,
      address: textOrNull(node.address),
      labels: node.labels,
      since: timeOrNull(node.since),
      inMaintenance: node.inMaintenance,
      held: textOrNull(node.held),
      needsOperator: textOrNull(node.needsOperator),
      healthReason: textOrNull(node.healthReason),
      outReason: textOrNull(node.outReason),
      order: textOrNull(node.order),
    })),
  };
}

/** `plexictl status`, and what a followed rollout ends with. `cluster` is the cluster's name. */
export function statusDocument(status: ClusterStatus, cluster: string) {
  return {
    cluster,
    leader: status.leader === undefined ? null : leaderDocument(status.leader),
    freeze: status.freeze === undefined ? null : freezeDocument(status.freeze),
    rollout: status.rollout === undefined ? null : rolloutDocument(status.rollout),
  };
}

/** The leader as it stands in several documents. */
export function leaderDocument(leader: Leader) {
  return { id: leader.id, term: Number(leader.term), epoch: Number(leader.epoch) };
}

function freezeDocument(freeze: Freeze) {
  return { reason: textOrNull(freeze.reason), by: textOrNull(freeze.by), since: timeOrNull(freeze.since) };
}

function rolloutDocument(rollout: Rollout) {
  return {
    id: rollout.id,
    from: rollout.from,
    to: rollout.to,
    phase: rollout.phase,
    reason: textOrNull(rollout.reason),
    startedAt: timeOrNull(rollout.startedAt),
    finishedAt: timeOrNull(rollout.finishedAt),
    planDigest: textOrNull(rollout.planDigest),
    counts: rollout.counts,
    nodes: rollout.nodes.map(rolloutNodeDocument),
  };
}

function rolloutNodeDocument(node: RolloutNode) {
  return {
    id: node.id,
    phase: node.phase,
    step: textOrNull(node.step),
    attempt: node.attempt,
    version: textOrNull(node.version),
    error: node.error === undefined ? null : { code: node.error.code, message: node.error.message },
    unknown: node.unknown,
    waitingOn: node.waitingOn.map(waitingDocument),
  };
}

function waitingDocument(waiting: Waiting) {
  return {
    reason: waiting.reason,
    since: timeOrNull(waiting.since),
    unblock: textOrNull(waiting.unblock),
  };
}

/** `plexictl why`. `cluster` is the cluster's name. */
export function whyDocument(why: Why, cluster: string) {
  const { node, part } = why;
  return {
    cluster,
    node: node.id,
    phase: textOrNull(part?.phase ?? node.phase),
    doing: why.doing,
    version: textOrNull(node.version),
    health: textOrNull(node.health),
    healthReason: textOrNull(node.healthReason),
    unknown: node.unknown,
    inService: node.inService,
    outReason: textOrNull(node.outReason),
    rollout: why.rollout?.id ?? null,
    error: part?.error === undefined ? null : { code: part.error.code, message: part.error.message },
    waitingOn: why.waitingOn.map(waitingDocument),
  };
}

/** `plexictl history`. */
export function historyDocument(rollouts: readonly Rollout[]) {
  return {
    rollouts: rollouts.map((rollout) => ({
      id: rollout.id,
      from: rollout.from,
      to: rollout.to,
      phase: rollout.phase,
      reason: textOrNull(rollout.reason),
      startedAt: timeOrNull(rollout.startedAt),
      finishedAt: timeOrNull(rollout.finishedAt),
      startedBy: textOrNull(rollout.startedBy),
    })),
  };
}

/** `plexictl audit`: the records as they stand in etcd. */
export function auditDocument(records: readonly AuditRecord[], verification: AuditVerification | undefined) {
  return {
    records: records.map(({ json }) => JSON.parse(json) as object),
    ...(verification !== undefined && {
      verification: {
        first: Number(verification.first),
        last: Number(verification.last),
        lastHash: textOrNull(verification.lastHash),
        problem: textOrNull(verification.problem),
      },
    }),
  };
}

/** `plexictl rollout --dry-run`. */
export function planDocument(plan: Plan) {
  return {
    plan: {
      cluster: plan.cluster,
      from: plan.from,
      to: plan.to,
      digest: plan.digest,
      maxConcurrent: plan.maxConcurrent,
      nodes: plan.nodes.map((node) => ({
        id: node.id,
        from: node.from,
        to: node.to,
        strategy: node.strategy,
        wave: node.wave,
        orderReason: textOrNull(node.orderReason),
        migrations: node.migrations,
        estimateMs: Number(node.estimateMs),
      })),
      steps: plan.steps,
      warnings: plan.warnings,
      problems: plan.problems,
      pointOfNoReturn: textOrNull(plan.pointOfNoReturn),
      estimateMs: Number(plan.estimateMs),
      requireConfirmation: plan.requireConfirmation,
      stageOnly: plan.stageOnly,
    },
  };
}

function textOrNull(text: string): string | null {
  return text === '' ? null : text;
}

function timeOrNull(time: Date | undefined): string | null {
  return time === undefined || Number.isNaN(time.getTime()) ? null : time.toISOString();
}
