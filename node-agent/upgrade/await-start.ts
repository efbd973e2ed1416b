/**
 * With a restart by hand the links are switched, and a person starts the service. The node waits, says
 * what it waits for, and looks; it starts nothing by itself here, but what a person says through the agent's
 * door. The way back waits for nobody.
 */
import { PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import { NONE } from '../../release/version.js';
import type { AgentNode } from '../node.js';
import { ensureRunning } from './apply.js';
import type { Phase, PhaseContext } from './phase.js';
import { notAwaited, runsAlready } from './start-word.js';

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
  async run(context) {
    const { node, signal, startWord } = context;
    tellWait(context);
    while (!(await node.service.isRunning())) {
      if (signal.aborted)
        throw new PlexiError('APPLY_FAILED', `nobody has started the service: ${whatToDo(node)}`);
      if (await startWord.isAsked(lookMs, signal)) await startAsAsked(context);
    }
  },
};

function tellWait({ node, progress }: PhaseContext): void {
  progress(0, 'waits for a person', whatToDo(node));
}

/** A start that fails is told to whoever asked for it, and the job waits on. */
async function startAsAsked(context: PhaseContext): Promise<void> {
  const { node, after, signal, startWord } = context;
  await startWord.answer(async () => {
    if (signal.aborted) throw notAwaited(node.config.node, 'its job goes back');
    if (await node.service.isRunning()) throw runsAlready(node.config.node);
    await ensureRunning(node, after);
  });
  if (!(await node.service.isRunning())) tellWait(context);
}

/** A process of the agent's own is started by the agent's word only; what else there is knows its own way. */
function whatToDo(node: AgentNode): string {
  const word = `start the service on ${node.config.node}: plexi-node-agent start --config FILE`;
  return node.config.services.every(({ adapter }) => adapter === 'process')
    ? word
    : `${word}, or with your init system`;
}
