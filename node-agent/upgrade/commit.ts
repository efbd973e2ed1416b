/**
 * The commit point is the record that announces this step, not its act: once that record is on the
 * disk the node runs the new version for good, and the agent alone never goes back (protocol, rule 9).
 */
import { removeLinkDurably } from '../disk/durable-file.js';
import type { Phase } from './phase.js';

export const commitStep: Phase = {
  step: 'commit',
  phase: 'committing',
  onRestart: 'redo',
  cancellable: false,
  timeoutMs: (order) => Number(order.timeouts?.applyMs ?? 0n),
  applies: () => true,
  async run({ node }) {
    await removeLinkDurably(node.paths.trial);
    node.monitor.resume();
    node.monitor.reset();
  },
};
