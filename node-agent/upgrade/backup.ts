/**
 * Data and configuration are copied away, encrypted, and the copy is read back and compared before
 * anything mutates them (guarantee 5).
 */
import { join } from 'node:path';
import { createBackup } from '../backup/create.js';
import type { Phase } from './phase.js';

export const backupStep: Phase = {
  step: 'backup',
  phase: 'backing_up',
  onRestart: 'redo',
  cancellable: true,
  timeoutMs: (order) => Number(order.timeouts?.backupMs ?? 0n),
  applies: (order) => order.backup,
  async run({ node, job, before, signal, progress }) {
    const { backup } = node.config;
    await createBackup({
      root: node.paths.root,
      paths: backup.paths,
      directory: backup.directory,
      id: job.facts.backupId,
      version: before?.version ?? 'none',
      node: node.config.node,
      rollout: typeof job.command.rolloutId === 'string' ? job.command.rolloutId : '',
      encryption: backup.encryption,
      keys: node.backupKeys,
      createdAt: node.clock.wall().toISOString(),
      signal,
      onProgress: (percent) => progress(percent, 'backup'),
    });
  },
};

/** The folder of a job's backup. */
export function backupFolder(root: string, directory: string, backupId: string): string {
  return join(root, directory, backupId);
}
