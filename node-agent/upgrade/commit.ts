/**
 * The commit point is the record that announces this step, not its act: once that record is on the
 * disk the node runs the new version for good, and the agent alone never goes back (protocol, rule 9).
 */
import { join } from 'node:path';
import type { BackupPolicy } from '../../gen/plexi/v1/node_agent.js';
import { pruneBackups } from '../backup/retention.js';
import { removeLinkDurably } from '../disk/durable-file.js';
import type { AgentNode } from '../node.js';
import { backupPolicyOf } from './backup.js';
import type { Phase } from './phase.js';

export const commitStep: Phase = {
  step: 'commit',
  phase: 'committing',
  onRestart: 'redo',
  cancellable: false,
  timeoutMs: (order) => Number(order.timeouts?.applyMs ?? 0n),
  applies: () => true,
  async run({ node, job, order }) {
    await removeLinkDurably(node.paths.trial);
    node.monitor.resume();
    node.monitor.reset();
    if (order.backup) await pruneOldBackups(node, backupPolicyOf(order), job.facts.backupId);
  },
};

/** Old backups go only once the new version is committed; that they could not go fails nothing. */
async function pruneOldBackups(
  node: AgentNode,
  { directory, keep, retentionDays }: BackupPolicy,
  pinned: string,
): Promise<void> {
  try {
    await pruneBackups({
      directory: join(node.paths.root, directory),
      keep,
      retentionDays,
      now: node.clock.wall(),
      pinned: new Set([pinned]),
    });
  } catch (thrown) {
    node.log.warn({ err: thrown }, 'old backups could not be removed');
  }
}
