/**
 * With a restart by hand the links are switched, and a person starts the service. The node waits, says
 * what it waits for, and looks; it starts nothing by itself here. The way back waits for nobody.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import { NONE } from '../../release/version.js';
import type { AgentNode } from '../node.js';
import type { Phase } from './phase.js';

/** The name of the step, by which `plexi-node-agent start` knows that it may. */
export const awaitStartName = 'await_start';
/** Milliseconds between two looks. */
const lookMs = 250;

export const awaitStartStep: Phase = {
  step: awaitStartName,
  phase: 'applying',
  // Each life of the agent waits anew: no clock holds across them, and a person can take the job back.
  onRestart: 'wait_on',
  cancellable: true,
  timeoutMs: () => limits.restartByHandMs,
  applies: (order) => order.restartByHand && order.to?.version !== NONE,
  async run({ node, signal, progress }) {
    progress(0, 'waits for a person', whatToDo(node));
    while (!(await node.service.isRunning())) {
      if (signal.aborted)
        throw new PlexiError('APPLY_FAILED', `nobody has started the service: ${whatToDo(node)}`);
      // Nobody waits for this wait: an agent that has stopped, its server closed, may end.
      await sleep(lookMs, undefined, { signal, ref: false }).catch(() => undefined);
    }
  },
};

/** A process of the agent's own is started by the agent's word only; what else there is knows its own way. */
function whatToDo(node: AgentNode): string {
  const word = `start the service on ${node.config.node}: plexi-node-agent start --config FILE`;
  return node.config.services.every(({ adapter }) => adapter === 'process')
    ? word
    : `${word}, or with your init system`;
}
