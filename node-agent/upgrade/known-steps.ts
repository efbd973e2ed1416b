/**
 * Which steps an agent of this version knows. Invariant: a job with a step of another version is neither
 * begun anew nor gone on with, whoever gave it, because nobody here can say what that step has done
 * (protocol, rule 9).
 */
import { PlexiError } from '../../config/errors.js';
import { Command } from '../../gen/plexi/v1/node_agent.js';
import { ownByHand, stepsOfWord } from '../by-hand/acts.js';
import type { Job } from '../journal/journal.js';
import { takeOverStep } from '../takeover/take-over.js';
import type { Phase } from './phase.js';

/** The one step of a job that only puts a node out of service, or back in. */
export const maintenanceStep = 'maintenance';

/** The first step of a job that this agent does not know; undefined when it knows them all. */
export function unknownStepOf(job: Job, phases: readonly Phase[]): string | undefined {
  const known = knownSteps(job, phases);
  return [...job.begun, ...(job.goingBack?.begun ?? [])].find((step) => !known.includes(step));
}

function knownSteps(job: Job, phases: readonly Phase[]): readonly string[] {
  const { act } = ownByHand(job) ?? {};
  if (act !== undefined && act.word !== 'take_back') return stepsOfWord(act.word);
  const { step: order } = Command.fromJSON(job.command);
  switch (order?.$case) {
    case 'upgrade':
      return phases.map(({ step }) => step);
    case 'maintenance':
      return [maintenanceStep];
    case 'takeOver':
      return [takeOverStep];
    default:
      return [];
  }
}

/** The error for a step of another version. */
export function unknownStep(step: string): PlexiError {
  return new PlexiError(
    'JOURNAL_UNREADABLE',
    `the journal names a step ${step} that this agent does not know; start the agent that began it, or say plexi-node-agent restore on the node`,
  );
}
