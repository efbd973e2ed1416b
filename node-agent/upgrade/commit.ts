/**
 * The commit point is the record that announces this step, not its act: once that record is on the
 * disk the node runs the new version for good, and the agent alone never goes back (protocol, rule 9).
 */
import { join } from 'node:path';
import { pruneBackups } from '../backup/retention.js';
import { removeLinkDurably } from '../disk/durable-file.js';
import type { AgentNode } from '../node.js';
import type { Phase } from './phase.js';

export const commitStep: Phase = {
  step: 'commit',
  phase: 'committing',
  onRestart: 'redo',
  cancellable: false,
  timeoutMs: (order) => Number(order.timeouts?.applyMs ?? 0n),
  applies: () => true,
  async run({ node, job }) {
    await removeLinkDurably(node.paths.trial);
    node.monitor.resume();
    node.monitor.reset();
    await pruneOldBackups(node, job.facts.backupId);
  },
};

/** Old backups go only once the new version is committed; that they could not go fails nothing. */
async function pruneOldBackups(node: AgentNode, pinned: string): Promise<void> {
  const { directory, keep, retentionDays } = node.config.backup;
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
