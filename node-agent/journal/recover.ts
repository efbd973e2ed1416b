/**
 * What an agent does at its start with the job that its journal holds open: a table from the last
 * record to finish, redo or roll back (protocol, rule 9). Pure; the executor acts on the answer.
 *
 * After the commit record the agent alone never rolls back. A step that was interrupted is begun
 * again only when it may be, and only `limits.journalRedo` times: after that the node goes back, so
 * that a step which kills the agent cannot loop. A step that only waits for a person kills nobody, and
 * goes on waiting however often the agent is restarted.
 */
import { limits } from '../../config/limits.js';
import type { Job } from './journal.js';

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
  | { readonly kind: 'go_on_back'; readonly from: string };

/**
 * @param open the open job, if any
 * @param onRestart what each step of the way forward says
 */
export function recoveryOf(open: Job | undefined, onRestart: (step: string) => OnRestart): Recovery {
  if (open === undefined) return { kind: 'nothing' };
  if (open.goingBack !== undefined) return { kind: 'go_on_back', from: lastOf(open.goingBack.begun) };
  const step = lastOf(open.begun);
  if (open.committed) return { kind: 'finish', from: step };
  const says = onRestart(step);
  const mayRedo = says === 'wait_on' || (says === 'redo' && open.resumed < limits.journalRedo);
  if (mayRedo) return { kind: 'redo', from: step };
  return { kind: 'roll_back', interrupted: step };
}

function lastOf(steps: readonly string[]): string {
  const last = steps.at(-1);
  if (last === undefined) throw new Error('a job has begun at least one step');
  return last;
}
