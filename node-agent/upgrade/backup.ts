/**
 * Data and configuration are copied away, encrypted, and the copy is read back and compared before
 * anything mutates them (guarantee 5).
 */
import { join } from 'node:path';
import { PlexiError } from '../../config/errors.js';
import { holds, isOwnEntry } from '../../config/schema/node-agent.js';
import { type BackupPolicy, Command, type UpgradeStep } from '../../gen/plexi/v1/node_agent.js';
import { whyNotPlain } from '../../release/plain-path.js';
import { createBackup } from '../backup/create.js';
import { usableKeys } from '../backup/keys.js';
import type { Job } from '../journal/journal.js';
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
    const why = backupDirectoryProblem(directory, node.config.backup.paths);
    if (why !== undefined) throw new PlexiError('BACKUP_FAILED', `${node.config.node}: ${why}`);
    await createBackup({
      root: node.paths.root,
      paths: node.config.backup.paths,
      directory,
      id: job.facts.backupId,
      version: before?.version ?? 'none',
      node: node.config.node,
      rollout: typeof job.command.rolloutId === 'string' ? job.command.rolloutId : '',
      encryption,
      keys: usableKeys(node.backupKeys),
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

/**
 * Why a node cannot keep its backups in a folder of its root; undefined when it can. The name comes
 * from a controller, so it is looked at here, where the files are.
 */
export function backupDirectoryProblem(directory: string, paths: readonly string[]): string | undefined {
  const problem = (why: string): string =>
    `backups cannot go to ${JSON.stringify(directory)}: ${why}; change backup.directory in update.yml`;
  const why = whyNotPlain(directory);
  if (why !== undefined) return problem(`the path ${why}`);
  if (isOwnEntry(directory)) return problem("it is the agent's own");
  const met = paths.find((path) => holds(path, directory) || holds(directory, path));
  return met === undefined ? undefined : problem(`it meets ${met}, which is backed up`);
}

/** Where a job keeps its backup, relative to the root; undefined for a job that is no upgrade. */
export function backupDirectoryOf({ command }: Pick<Job, 'command'>): string | undefined {
  const { step } = Command.fromJSON(command);
  return step?.$case === 'upgrade' ? step.value.backupPolicy?.directory : undefined;
}

/** The folder of a job's backup. */
export function backupFolder(root: string, directory: string, backupId: string): string {
  return join(root, directory, backupId);
}
