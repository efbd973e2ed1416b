/**
 * What is said once a rollout that was followed is over: each node with what it runs and how long it
 * was out of service, and one sentence on how it ended, which is also the sentence of the error.
 */
import type { Rollout, RolloutNode } from '../../gen/plexi/v1/rollouts.js';
import { formatElapsed } from '../duration.js';
import { printable } from './cells.js';
import type { Palette } from './palette.js';
import { count } from './plan.js';
import { noteOf } from './progress.js';
import { table } from './table.js';

/**
 * The table of nodes, and how it ended. Why it did not end well is left to the error, which is printed
 * right after this.
 */
export function summaryText(rollout: Rollout, paint: Palette): string {
  const rows = rollout.nodes.map((node) => [
    node.id,
    node.phase,
    node.from,
    node.version,
    outText(node),
    failureOf(node),
  ]);
  const headings = ['NODE', 'PHASE', 'FROM', 'NOW', 'OUT FOR', 'NOTE'];
  const columns = headings.map(
    (heading) => ({ heading, align: heading === 'OUT FOR' ? 'right' : 'left' }) as const,
  );
  const nodes = rows.length === 0 ? '' : `${table(columns, rows)}\n`;
  const isGood = rollout.exitCode === 0;
  return `${nodes}${isGood ? paint.good(endSentence(rollout)) : paint.bad(endedText(rollout))}\n`;
}

/** How the rollout ended, in one sentence, with the first node that failed. */
export function endSentence(rollout: Rollout): string {
  if (rollout.exitCode === 0) {
    const done = rollout.nodes.filter((node) => node.phase === 'done').length;
    return printable(`${endedText(rollout)}: ${count(done, 'node')} at ${rollout.to}`);
  }
  const failed = firstFailure(rollout);
  const why = [rollout.reason, failed === undefined ? '' : `${failed.id}: ${failed.error?.message ?? ''}`];
  const reasons = why.filter(
    (reason, at) => reason !== '' && !(at === 1 && rollout.reason.includes(failed?.error?.message ?? reason)),
  );
  return printable([endedText(rollout), ...reasons].join('; '));
}

function endedText(rollout: Rollout): string {
  const ended = printable(`${rollout.id} ${rollout.phase}`);
  if (rollout.startedAt === undefined || rollout.finishedAt === undefined) return ended;
  return `${ended} after ${formatElapsed(rollout.finishedAt.getTime() - rollout.startedAt.getTime())}`;
}

/** What a node waited for says nothing any more once the rollout is over. */
function failureOf(node: RolloutNode): string {
  return noteOf({ ...node, waitingOn: [] });
}

/** The node whose failure counts most: one that needs an operator, else the first with an error. */
export function firstFailure(rollout: Rollout): RolloutNode | undefined {
  const failed = rollout.nodes.filter((node) => node.error !== undefined);
  return failed.find((node) => node.phase === 'rollback_failed') ?? failed[0];
}

function outText(node: RolloutNode): string {
  if (node.outSince === undefined) return '';
  return node.backAt === undefined
    ? 'still out'
    : formatElapsed(node.backAt.getTime() - node.outSince.getTime());
}
