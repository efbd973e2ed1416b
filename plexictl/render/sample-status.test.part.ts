/**
 * Statuses for the tests of the views: a small rollout in the middle of its work, from which a test
 * states only what it is about.
 */
import { ClusterStatus, Rollout, RolloutNode } from '../../gen/plexi/v1/rollouts.js';

/** When the sample rollout started. */
export const startedAtMs = Date.parse('2024-12-19T12:00:00Z');

/** A time so many seconds after the start. */
export function at(seconds: number): Date {
  return new Date(startedAtMs + seconds * 1_000);
}

/** One node of a rollout from 0a1 to 0b1. */
export function sampleNode(id: string, phase: string, more: Partial<RolloutNode> = {}): RolloutNode {
  const version = phase === 'done' ? '0b1' : '0a1';
  return RolloutNode.fromPartial({ id, phase, from: '0a1', version, since: at(0), ...more });
}

/** A status with these nodes; their counts are made here. */
export function sampleStatus(nodes: readonly RolloutNode[], more: Partial<Rollout> = {}): ClusterStatus {
  const counts: Record<string, number> = {};
  for (const node of nodes) counts[node.phase] = (counts[node.phase] ?? 0) + 1;
  const rollout = Rollout.fromPartial({
    id: 'update_0a1_0b1_20241219_120000',
    from: '0a1',
    to: '0b1',
    phase: 'rolling',
    startedAt: at(0),
    startedBy: 'ops',
    maxConcurrent: 1,
    planDigest: 'd'.repeat(64),
    counts,
    nodes: [...nodes],
    ...more,
  });
  return ClusterStatus.fromPartial({
    leader: { id: 'controller-0', term: 12n, epoch: 1n, address: '127.0.0.1:1' },
    rollout,
  });
}
