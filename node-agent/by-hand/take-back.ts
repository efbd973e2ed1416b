/**
 * Which open job a word on the node takes back. One answer for whoever advises that word: what is advised is not
 * refused.
 */
import { Command } from '../../gen/plexi/v1/node_agent.js';
import type { Job } from '../journal/journal.js';
import { awaitStartName } from '../upgrade/await-start.js';
import { Executor } from '../upgrade/executor.js';
import { ownByHand } from './acts.js';

/** Whether it is an upgrade that a controller gave, which alone is taken back. */
export function isGivenUpgrade(job: Job): boolean {
  return ownByHand(job) === undefined && Command.fromJSON(job.command).step?.$case === 'upgrade';
}

/** Whether it can still be taken back: neither behind its commit, nor on its way back already. */
export function canBeTakenBack(job: Job): boolean {
  const isForward = job.goingBack === undefined && job.byHand === undefined && !job.committed;
  return job.result === undefined && isForward && isGivenUpgrade(job) && Executor.knows(job);
}

/** Whether it waits for a person to start the service, as far as the journal knows. */
export function waitsForStart(job: Job): boolean {
  return canBeTakenBack(job) && job.begun.at(-1) === awaitStartName;
}
