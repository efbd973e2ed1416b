/**
 * The way back before the commit: code and data go back together, whatever had changed. Every step
 * may be begun again after a crash. A node whose service cannot be brought back stays in
 * maintenance and asks for an operator (semantics S10).
 */
import { usableKeys } from '../backup/keys.js';
import { restoreBackup } from '../backup/restore.js';
import { ensureRunning, switchBack } from './apply.js';
import { backupFolder, backupPolicyOf } from './backup.js';
import type { JobSoFar, Phase } from './phase.js';
import { probeRelease } from './probe.js';

const back = {
  phase: 'rolling_back',
  onRestart: 'redo',
  cancellable: false,
  timeoutMs: (order) => Number(order.timeouts?.rollbackMs ?? 0n),
} as const satisfies Partial<Phase>;

function begun(job: JobSoFar, ...steps: string[]): boolean {
  return steps.some((step) => job.begun.includes(step));
}

export const stopNewStep: Phase = {
  ...back,
  step: 'stop_new',
  applies: (_order, job) => begun(job, 'apply'),
  async run({ node, order }) {
    node.monitor.pause();
    await node.service.stop(Number(order.timeouts?.stopMs ?? 0n));
  },
};

export const restoreStep: Phase = {
  ...back,
  step: 'restore',
  applies: (order, job) => order.backup && begun(job, 'migrate', 'apply'),
  async run({ node, job, order }) {
    await restoreBackup({
      root: node.paths.root,
      backupDir: backupFolder(node.paths.root, backupPolicyOf(order).directory, job.facts.backupId),
      keys: usableKeys(node.backupKeys),
      id: job.facts.backupId,
    });
  },
};

export const switchBackStep: Phase = {
  ...back,
  step: 'switch_back',
  applies: (_order, job) => begun(job, 'apply'),
  run: ({ node, job }) => switchBack(node, job.facts),
};

export const startOldStep: Phase = {
  ...back,
  step: 'start_old',
  applies: (_order, job) => begun(job, 'stop') && job.facts.folderBefore !== null,
  async run({ node, before }) {
    await ensureRunning(node, before);
  },
};

export const probeOldStep: Phase = {
  ...back,
  step: 'probe_old',
  applies: startOldStep.applies,
  async run(context) {
    await ensureRunning(context.node, context.before);
    await probeRelease(context, context.before);
    context.node.monitor.resume();
    context.node.monitor.reset();
  },
};
