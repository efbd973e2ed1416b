/**
 * How long a rollout still takes. What this rollout's own nodes took so far is believed before what
 * the plan estimated, and an estimate that has run out is given up rather than shown as zero.
 */
import type { Rollout, RolloutNode } from '../../gen/plexi/v1/rollouts.js';
import { isSettled } from './phases.js';

/** Milliseconds left, or undefined when nothing sensible can be said (going back, paused, overdue). */
export function estimateLeftMs(rollout: Rollout, nowMs: number): number | undefined {
  if (['paused', 'rolling_back'].includes(rollout.phase) || rollout.finishedAt !== undefined)
    return undefined;
  const measured = rollout.nodes
    .filter((node) => node.phase === 'done')
    .map(turnMs)
    .filter(isMeasured);
  if (measured.length === 0) return leftOfPlan(rollout, nowMs);
  const meanMs = measured.reduce((sum, ms) => sum + ms, 0) / measured.length;
  const open = rollout.nodes.filter((node) => !isSettled(node));
  const workMs = open.reduce((sum, node) => sum + leftOfTurn(node, meanMs, nowMs), 0);
  const atATime = Math.max(1, Math.min(rollout.maxConcurrent, open.length));
  return open.length === 0 ? undefined : workMs / atATime;
}

/** From being taken out of service to the end of the node's soak: for a done node `since` is that end. */
function turnMs(node: RolloutNode): number | undefined {
  if (node.outSince === undefined || node.since === undefined) return undefined;
  return node.since.getTime() - node.outSince.getTime();
}

function isMeasured(ms: number | undefined): ms is number {
  return ms !== undefined && ms > 0;
}

/** A node that takes longer than the others is given a tenth of their time, not a negative one. */
function leftOfTurn(node: RolloutNode, meanMs: number, nowMs: number): number {
  if (node.outSince === undefined) return meanMs;
  return Math.max(meanMs / 10, meanMs - (nowMs - node.outSince.getTime()));
}

function leftOfPlan(rollout: Rollout, nowMs: number): number | undefined {
  if (rollout.startedAt === undefined || rollout.estimateMs === 0n) return undefined;
  const leftMs = Number(rollout.estimateMs) - (nowMs - rollout.startedAt.getTime());
  return leftMs > 0 ? leftMs : undefined;
}
