/**
 * Progress for a log file or a pipe: one line for each change of a node's or the rollout's phase, and
 * for each reason to wait that is new, with the time since the rollout's start. Nodes that wait for the
 * same share one line, so that a large cluster does not drown its log. Pure: made from two statuses that follow one another. The times
 * are the controllers' own, so a line says when something happened, not when it was heard of.
 */
import type { ClusterStatus, Rollout, RolloutNode } from '../../gen/plexi/v1/rollouts.js';
import { formatElapsed } from '../duration.js';
import { fitRight, printable } from './cells.js';
import { nameList } from './group.js';

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
  const waitingLines = newWaits(pastNodes, rollout.nodes).map(({ reason, names }) => ({
    atMs: nowMs,
    text: `${nameList(names)}: waits: ${reason}`,
  }));
  const rolloutLine = { atMs: rollout.finishedAt?.getTime() ?? nowMs, text: rolloutText(rollout) };
  const phaseIsNews = past?.phase !== rollout.phase || past.reason !== rollout.reason;
  const lines =
    past === undefined ? [rolloutLine, ...nodeLines] : [...nodeLines, ...(phaseIsNews ? [rolloutLine] : [])];
  return [...lines, ...waitingLines].map(
    ({ atMs, text }) => `[${fitRight(sinceStart(rollout, atMs), 7)}] ${printable(text)}`,
  );
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

interface SharedWait {
  readonly reason: string;
  readonly names: string[];
}

/** Reasons that a node did not wait for before. A soak, and being unreachable, are told already. */
function newWaits(
  before: ReadonlyMap<string, RolloutNode>,
  nodes: readonly RolloutNode[],
): readonly SharedWait[] {
  const byReason = new Map<string, SharedWait>();
  for (const node of nodes.filter(({ unknown, phase }) => !unknown && phase !== 'soaking')) {
    const known = new Set((before.get(node.id)?.waitingOn ?? []).map(({ reason }) => reason));
    for (const { reason } of node.waitingOn.filter((waiting) => !known.has(waiting.reason))) {
      const shared = byReason.get(reason) ?? { reason, names: [] };
      shared.names.push(node.id);
      byReason.set(reason, shared);
    }
  }
  return [...byReason.values()];
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
