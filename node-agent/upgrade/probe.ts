/**
 * Health: every probe good, several times in a row, and the service itself must say the version that
 * was applied. A process that runs proves nothing.
 */
import { PlexiError } from '../../config/errors.js';
import { NONE } from '../../release/version.js';
import type { LocalRelease } from '../node.js';
import { probeSubject } from '../service/node-facts.js';
import { probeUntilGood } from '../service/probe.js';
import { ensureRunning } from './apply.js';
import type { Phase, PhaseContext } from './phase.js';

export const probeStep: Phase = {
  step: 'probe',
  phase: 'probing',
  onRestart: 'redo',
  cancellable: true,
  timeoutMs: (order) => Number(order.timeouts?.probeMs ?? 0n),
  applies: (order) => order.to?.version !== NONE,
  async run(context) {
    await ensureRunning(context.node, context.after);
    await probeRelease(context, context.after);
  },
};

/** Waits until a release is healthy. @throws PlexiError PROBE_FAILED with the last reason */
export async function probeRelease(context: PhaseContext, release: LocalRelease | undefined): Promise<void> {
  const { node, order, signal, timeoutMs } = context;
  const policy = order.probe;
  const result = await probeUntilGood({
    probes: node.config.probes,
    expectedVersion: release?.version,
    policy: {
      goodInARow: policy?.goodInARow ?? 1,
      spacingMs: Number(policy?.spacingMs ?? 0n),
      intervalMaxMs: Number(policy?.intervalMaxMs ?? 1_000n),
      tryMs: Number(policy?.tryMs ?? 5_000n),
    },
    // A little before the step's own bound, so that the last reason is told and not only the time.
    timeoutMs: 0.95 * timeoutMs,
    signal,
    isRunning: () => node.service.isRunning(),
    subject: probeSubject(node),
    onSample: (good, needed) => context.progress(Math.floor((100 * good) / needed), 'probe'),
  });
  if (!result.good) {
    throw new PlexiError(
      'PROBE_FAILED',
      `${release?.version ?? 'the service'} did not get healthy on ${node.config.node}: ${result.reason}`,
    );
  }
}
