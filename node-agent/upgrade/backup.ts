/**
 * Data and configuration are copied away, encrypted, and the copy is read back and compared before
 * anything mutates them (guarantee 5).
 */
import { join } from 'node:path';
import { PlexiError } from '../../config/errors.js';
import type { BackupPolicy, UpgradeStep } from '../../gen/plexi/v1/node_agent.js';
import { createBackup } from '../backup/create.js';
import type { Phase } from './phase.js';

export const backupStep: Phase = {
  step: 'backup',
  phase: 'backing_up',
  onRestart: 'redo',
  cancellable: true,
  timeoutMs: (order) => Number(order.timeouts?.backupMs ?? 0n),
  applies: (order) => order.backup,
  async run({ node, job, before, order, signal, progress }) {
    const { directory, encryption } = backupPolicyOf(order);
    await createBackup({
      root: node.paths.root,
      paths: node.config.backup.paths,
      directory,
      id: job.facts.backupId,
      version: before?.version ?? 'none',
      node: node.config.node,
      rollout: typeof job.command.rolloutId === 'string' ? job.command.rolloutId : '',
      encryption,
      keys: node.backupKeys,
      createdAt: node.clock.wall().toISOString(),
      signal,
      onProgress: (percent) => progress(percent, 'backup'),
    });
  },
};

/** How this job's backup is made. The policy is the cluster's, and comes with the order. */
export function backupPolicyOf(order: Pick<UpgradeStep, 'backupPolicy'>): BackupPolicy {
  if (order.backupPolicy !== undefined) return order.backupPolicy;
  throw new PlexiError(
    'BACKUP_FAILED',
    'the order does not say how backups are made; update the controllers',
  );
}

/** The folder of a job's backup. */
export function backupFolder(root: string, directory: string, backupId: string): string {
  return join(root, directory, backupId);
}
