/**
 * Health: every probe good, several times in a row, and the service itself must say the version that
 * was applied. A process that runs proves nothing.
 */
import { PlexiError } from '../../config/errors.js';
import { NONE } from '../../release/version.js';
import type { AgentNode, LocalRelease } from '../node.js';
import { probeSubject } from '../service/node-facts.js';
import { type ProbeOrder, probeUntilGood } from '../service/probe.js';
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

/** Waits until a release is healthy, as the order says. @throws PlexiError PROBE_FAILED with the last reason */
export function probeRelease(context: PhaseContext, release: LocalRelease | undefined): Promise<void> {
  const { node, order, signal, timeoutMs, progress } = context;
  const policy = {
    goodInARow: order.probe?.goodInARow ?? 1,
    spacingMs: Number(order.probe?.spacingMs ?? 0n),
    intervalMaxMs: Number(order.probe?.intervalMaxMs ?? 1_000n),
    tryMs: Number(order.probe?.tryMs ?? 5_000n),
  };
  const onSample = (good: number, needed: number): void =>
    progress(Math.floor((100 * good) / needed), 'probe');
  return awaitHealthy(node, release, { policy, timeoutMs, signal, onSample });
}

/** Waits until a release is healthy. @throws PlexiError PROBE_FAILED with the last reason */
export async function awaitHealthy(
  node: AgentNode,
  release: LocalRelease | undefined,
  bounds: Pick<ProbeOrder, 'policy' | 'timeoutMs' | 'signal' | 'onSample'>,
): Promise<void> {
  const result = await probeUntilGood({
    ...bounds,
    probes: node.config.probes,
    expectedVersion: release?.version,
    // A little before the step's own bound, so that the last reason is told and not only the time.
    timeoutMs: 0.95 * bounds.timeoutMs,
    isRunning: () => node.service.isRunning(),
    subject: probeSubject(node),
  });
  if (!result.good) {
    throw new PlexiError(
      'PROBE_FAILED',
      `${release?.version ?? 'the service'} did not get healthy on ${node.config.node}: ${result.reason}`,
    );
  }
}
