/**
 * What an agent does at its start with the job that its journal holds open: a table from the last
 * record to finish, redo or roll back (protocol, rule 9). Pure; the executor acts on the answer.
 *
 * After the commit record the agent alone never rolls back. A step that was interrupted is begun
 * again only when it may be, and only `limits.journalRedo` times: after that the node goes back, so
 * that a step which kills the agent cannot loop. After the commit, and on the way back, there is nothing
 * left to turn to: such a step is begun again `limits.journalRedoOnward` times, and then the node holds and
 * asks. A step that only waits for a person kills nobody, and goes on waiting however often the agent is
 * restarted. A job that an operator on the node has taken back goes back, whatever it was at.
 */
import { limits } from '../../config/limits.js';
import type { BegunSteps, Job } from './journal.js';

/** What a step says about being interrupted by the end of the agent. */
export type OnRestart = 'redo' | 'wait_on' | 'roll_back';

export type Recovery =
  /** There is no open job. */
  | { readonly kind: 'nothing' }
  /** The node committed: what is left is done to the end. */
  | { readonly kind: 'finish'; readonly from: string }
  /** The step is begun again, and the job goes on. */
  | { readonly kind: 'redo'; readonly from: string }
  /** The job goes back. */
  | { readonly kind: 'roll_back'; readonly interrupted: string }
  /** The job was going back, and goes on with that. */
  | { readonly kind: 'go_on_back'; readonly from: string }
  /** The agent was restarted in the middle of this step again and again: the node holds, and asks. */
  | { readonly kind: 'give_up'; readonly at: string };

/**
 * @param open the open job, if any
 * @param onRestart what each step of the way forward says
 */
export function recoveryOf(open: Job | undefined, onRestart: (step: string) => OnRestart): Recovery {
  if (open === undefined) return { kind: 'nothing' };
  const step = lastOf(open.goingBack?.begun ?? open.begun);
  const isOnward = open.goingBack !== undefined || open.committed;
  if (isOnward && open.resumed >= limits.journalRedoOnward) return { kind: 'give_up', at: step };
  if (open.goingBack !== undefined) return { kind: 'go_on_back', from: step };
  if (open.committed) return { kind: 'finish', from: step };
  if (open.byHand !== undefined) return { kind: 'roll_back', interrupted: step };
  const says = onRestart(step);
  const mayRedo = says === 'wait_on' || (says === 'redo' && open.resumed < limits.journalRedo);
  if (mayRedo) return { kind: 'redo', from: step };
  return { kind: 'roll_back', interrupted: step };
}

function lastOf(steps: BegunSteps): string {
  return steps.reduce((_before, step) => step);
}
