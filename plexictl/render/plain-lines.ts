/**
 * Progress for a log file or a pipe: one line for each change of a node's or the rollout's phase, with
 * the time since the rollout's start. Pure: made from two statuses that follow one another. The times
 * are the controllers' own, so a line says when something happened, not when it was heard of.
 */
import type { ClusterStatus, Rollout, RolloutNode } from '../../gen/plexi/v1/rollouts.js';
import { formatElapsed } from '../duration.js';
import { fitRight, printable } from './cells.js';

/** The lines, without newlines, that tell what is new in `after`; `before` is absent at first. */
export function changeLines(
  before: ClusterStatus | undefined,
  after: ClusterStatus,
  nowMs: number,
): string[] {
  const { rollout } = after;
  if (rollout === undefined) return [];
  const past = before?.rollout;
  const pastNodes = new Map((past?.nodes ?? []).map((node) => [node.id, node]));
  const nodeLines = rollout.nodes
    .filter((node) => isNews(pastNodes.get(node.id), node))
    .map((node) => ({ atMs: node.since?.getTime() ?? nowMs, text: nodeText(node) }))
    .sort((one, other) => one.atMs - other.atMs);
  const rolloutLine = { atMs: rollout.finishedAt?.getTime() ?? nowMs, text: rolloutText(rollout) };
  const phaseIsNews = past?.phase !== rollout.phase || past.reason !== rollout.reason;
  const lines =
    past === undefined ? [rolloutLine, ...nodeLines] : [...nodeLines, ...(phaseIsNews ? [rolloutLine] : [])];
  return lines.map(({ atMs, text }) => `[${fitRight(sinceStart(rollout, atMs), 7)}] ${printable(text)}`);
}

/** A node that has not begun when one begins to look is no news. */
function isNews(before: RolloutNode | undefined, after: RolloutNode): boolean {
  if (before === undefined) return after.phase !== 'pending' || after.unknown || after.error !== undefined;
  return (
    before.phase !== after.phase ||
    before.unknown !== after.unknown ||
    before.attempt !== after.attempt ||
    before.error?.message !== after.error?.message
  );
}

function nodeText(node: RolloutNode): string {
  const again = node.attempt > 1 ? ` (try ${node.attempt})` : '';
  const unknown = node.unknown ? ', cannot be reached' : '';
  const error = node.error === undefined ? '' : `: ${node.error.message}`;
  return `${node.id}: ${node.phase}${again}${unknown}${error}`;
}

function rolloutText(rollout: Rollout): string {
  const reason = rollout.reason === '' ? '' : `: ${rollout.reason}`;
  return `${rollout.id} (${rollout.from} → ${rollout.to}): ${rollout.phase}${reason}`;
}

function sinceStart(rollout: Rollout, atMs: number): string {
  return formatElapsed(rollout.startedAt === undefined ? 0 : atMs - rollout.startedAt.getTime());
}
