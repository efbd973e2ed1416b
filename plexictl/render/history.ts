/**
 * `plexictl history` for people: one line a rollout, newest first, with how it ended and why. An id says
 * from where, to where and when; `wide` says it in columns, with who started it, and cuts nothing.
 */
import type { Rollout } from '../../gen/plexi/v1/rollouts.js';
import { formatElapsed } from '../duration.js';
import { minuteOf } from './status.js';
import { pageCells, table } from './table.js';

/** The rollouts as a table of at most 80 cells, or a wide one. */
export function historyText(rollouts: readonly Rollout[], wide: boolean): string {
  if (rollouts.length === 0) return 'No rollouts yet. Start one with `plexictl rollout --to VERSION`.\n';
  const rows = rollouts.map((rollout) => [
    rollout.id,
    wide ? rollout.from : '',
    wide ? rollout.to : '',
    rollout.phase,
    wide && rollout.startedAt !== undefined ? minuteOf(rollout.startedAt) : '',
    tookText(rollout),
    wide ? rollout.startedBy : '',
    rollout.reason,
  ]);
  const headings = ['ROLLOUT', 'FROM', 'TO', 'PHASE', 'STARTED', 'TOOK', 'BY', 'REASON'];
  const columns = headings.map((heading) => ({ heading }));
  return table(columns, rows, wide ? {} : { widthCells: pageCells });
}

function tookText(rollout: Rollout): string {
  if (rollout.startedAt === undefined || rollout.finishedAt === undefined) return '';
  return formatElapsed(rollout.finishedAt.getTime() - rollout.startedAt.getTime());
}
