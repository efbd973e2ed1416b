/** What a rollback would take back, for people: the rollout, and each node with where it goes. */
import type { Rollout } from '../../gen/plexi/v1/rollouts.js';
import { printable } from './cells.js';
import { count } from './plan.js';
import { minuteOf } from './status.js';
import { table } from './table.js';

/** The text; nodes that the rollout did not change are left out. */
export function rollbackText(rollout: Rollout, cluster: string): string {
  const changed = rollout.nodes.filter((node) => node.from !== '' && node.version !== node.from);
  const ended =
    rollout.finishedAt === undefined ? rollout.phase : `${rollout.phase} ${minuteOf(rollout.finishedAt)}`;
  const heading = `Rollback of ${rollout.id} (${rollout.from} → ${rollout.to}, ${ended}) in cluster ${cluster}:`;
  const nodes = changed.map((node) => [node.id, node.version, node.from]);
  const columns = [{ heading: 'NODE' }, { heading: 'NOW' }, { heading: 'BACK TO' }];
  return [
    printable(heading),
    `${count(changed.length, 'node')} to take back; what was written since then stays.`,
    ...(nodes.length === 0 ? [] : ['', table(columns, nodes, { indent: '  ' }).trimEnd()]),
    '',
    '',
  ].join('\n');
}
