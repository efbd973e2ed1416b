/**
 * What the running agent answers at its local door. It listens before it has read its state, so that no
 * second agent begins to, and it answers once it has.
 */
import { PlexiError } from '../../config/errors.js';
import type { CommandService } from '../api/command-service.js';
import type { Fence } from '../api/fence.js';
import type { Journal } from '../journal/journal.js';
import type { AgentNode } from '../node.js';
import { releaseToStart } from '../start-by-hand.js';
import type { Executor } from '../upgrade/executor.js';
import type { Doorkeeper } from './door.js';
import { obey } from './hands.js';
import { parseRequest, startRequest } from './requests.js';
import { nodeDocumentOf } from './status.js';

export interface OpenedState {
  readonly node: AgentNode;
  readonly journal: Journal;
  readonly fence: Fence;
  readonly executor: Executor;
  /** Why the journal cannot be trusted. */
  readonly unreadable: PlexiError | undefined;
  /** Why the node does nothing by itself, and by no word but those that put it right. */
  holds(): { code: string; message: string } | undefined;
  /** The same, and what else asks for an operator. */
  needsOperator(): { code: string; message: string } | undefined;
  readonly commands: Pick<CommandService, 'exclusively'>;
}

/** The job that waits for it starts the service. A command that is being let in comes first. */
export async function startInTurn({
  node,
  commands,
  executor,
}: {
  readonly node: Pick<AgentNode, 'config'>;
  readonly commands: OpenedState['commands'];
  readonly executor: Pick<Executor, 'startByHand'>;
}): Promise<{ version: string }> {
  const { version } = await releaseToStart(node.config);
  // Wrapped, so that the critical section does not wait for the end of the start.
  const { started } = await commands.exclusively(async () => ({ started: executor.startByHand() }));
  await started;
  return { version };
}

/** The door's keeper, and how it is told that the state is open. */
export function localAnswers(name: string): { answer: Doorkeeper; open(state: OpenedState): void } {
  let opened: OpenedState | undefined;
  return {
    open(state) {
      opened = state;
    },
    async answer(json) {
      const request = startRequest.safeParse(json).data ?? parseRequest(json);
      if (opened === undefined)
        throw new PlexiError('BUSY', `the agent of ${name} is starting; say it again in a moment`);
      const { node, journal, fence, executor, unreadable, holds, needsOperator, commands } = opened;
      if (request.word === 'status')
        return nodeDocumentOf({
          node,
          journal: unreadable === undefined ? journal : undefined,
          fence,
          agentRuns: true,
          needsOperator: needsOperator(),
        });
      if (unreadable !== undefined) throw unreadable;
      if (request.word === 'start') return startInTurn({ node, commands, executor });
      const exclusively = commands.exclusively.bind(commands);
      return obey({ node, journal, executor, needsOperator: holds, exclusively }, request);
    },
  };
}
