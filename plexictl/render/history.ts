/** `plexictl history` for people: one line a rollout, newest first, with how it ended and why. */
import type { Rollout } from '../../gen/plexi/v1/rollouts.js';
import { formatElapsed } from '../duration.js';
import { minuteOf } from './status.js';
import { table } from './table.js';

/** The rollouts as a table. */
export function historyText(rollouts: readonly Rollout[]): string {
  if (rollouts.length === 0) return 'No rollouts yet. Start one with `plexictl rollout --to VERSION`.\n';
  const rows = rollouts.map((rollout) => [
    rollout.id,
    rollout.from,
    rollout.to,
    rollout.phase,
    rollout.startedAt === undefined ? '' : minuteOf(rollout.startedAt),
    tookText(rollout),
    rollout.startedBy,
    rollout.reason,
  ]);
  const headings = ['ROLLOUT', 'FROM', 'TO', 'PHASE', 'STARTED', 'TOOK', 'BY', 'REASON'];
  return table(
    headings.map((heading) => ({ heading })),
    rows,
  );
}

function tookText(rollout: Rollout): string {
  if (rollout.startedAt === undefined || rollout.finishedAt === undefined) return '';
  return formatElapsed(rollout.finishedAt.getTime() - rollout.startedAt.getTime());
}
