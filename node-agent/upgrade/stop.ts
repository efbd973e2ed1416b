/** The service stops, and is seen to have stopped, before anything of its own is touched. */
import type { Phase } from './phase.js';

export const stopStep: Phase = {
  step: 'stop',
  phase: 'stopping',
  onRestart: 'redo',
  cancellable: false,
  timeoutMs: (order) => Number(order.timeouts?.stopMs ?? 0n),
  applies: () => true,
  async run({ node, timeoutMs }) {
    node.monitor.pause();
    // Also when its main process is dead: a worker that is left would write beside the backup.
    await node.service.stop(timeoutMs);
  },
};
