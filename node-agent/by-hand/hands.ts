/**
 * The words that an operator says on the node itself, for a day without a controller: `rollback` and
 * `maintenance off`. Each is journaled before anything is done, is a job like a controller's, and is told
 * at the next Adopt with the other jobs. Invariant: none of them works beside another job, and none on
 * state that cannot be trusted.
 */
import { PlexiError } from '../../config/errors.js';
import { migrationsBetween } from '../../release/migrations.js';
import { folderToRun } from '../../release/repository/place.js';
import { timeInName } from '../disk/time-in-name.js';
import type { Job, Journal } from '../journal/journal.js';
import type { ByHand, JobFacts, JobResult, NewRecord } from '../journal/records.js';
import { type AgentNode, type LocalRelease, linkedFolder, localRelease } from '../node.js';
import { refuseEndlessJobs } from '../takeover/failed-job.js';
import { Executor } from '../upgrade/executor.js';
import { changesOf } from '../upgrade/stage.js';
import { firstStepOf, takenBackBy } from './acts.js';
import type { ByHandOutcome, ByHandRequest } from './requests.js';
import { backupMadeBy } from './status.js';
import { canBeTakenBack, isGivenUpgrade } from './take-back.js';

export interface Hands {
  readonly node: AgentNode;
  readonly journal: Journal;
  readonly executor: Executor;
  /** Why the node asks for an operator; undefined when it does not. */
  needsOperator(): { code: string; message: string } | undefined;
  /** Nothing is admitted beside this. */
  exclusively<T>(work: () => Promise<T>): Promise<T>;
}

/** Who says it, and why. */
export type Said = Pick<ByHand, 'by' | 'reason'>;

/** A job that was begun, or taken up. Wrapped, so that the critical section does not wait for its end. */
interface Begun {
  readonly ended: Promise<JobResult>;
}

/** Does what was said, to its end. @throws PlexiError when it is refused; nothing has changed then */
export async function obey(
  hands: Hands,
  request: Exclude<ByHandRequest, { word: 'status' }>,
): Promise<ByHandOutcome> {
  const { ended } = await hands.exclusively(() => begin(hands, request));
  const { outcome, release, failure } = await ended;
  return { outcome, release, failure, inMaintenance: hands.node.maintenance.current !== undefined };
}

function begin(hands: Hands, request: Exclude<ByHandRequest, { word: 'status' }>): Promise<Begun> {
  switch (request.word) {
    case 'maintenance_off':
      return maintenanceOff(hands, request);
    case 'rollback': {
      const open = hands.journal.open();
      if (open !== undefined) return takeBack(hands, open, request);
      return rollBackCommitted(hands, request, request.forceAfterCommit);
    }
  }
}

/** The open job goes back, as when its controller says so. */
async function takeBack(hands: Hands, open: Job, said: Said): Promise<Begun> {
  const { node, journal, executor } = hands;
  const { commandId, facts } = open;
  const record: NewRecord = {
    kind: 'by_hand',
    commandId,
    act: { word: 'take_back' },
    ...pick(said),
    setAside: [],
    step: (open.goingBack?.begun ?? open.begun).at(-1) ?? '',
    facts,
  };
  // In the record's own turn: the job goes on meanwhile, and may have committed or ended before that.
  await journal.append(record, (job = open) => refuseToTakeBack(hands, job));
  node.log.warn({ commandId, ...pick(said) }, 'taken back by hand');
  const running = executor.cancel(commandId, takenBackBy(said)) ?? (await executor.takeUpAgain())?.ended;
  if (running === undefined)
    throw executor.broken ?? refused(`nothing works on ${commandId}; start plexi-node-agent again`);
  return { ended: running.then((result) => backOrRefused(commandId, result)) };
}

/** Why a job is not taken back; nothing of the word is written then. */
function refuseToTakeBack(hands: Hands, job: Job): void {
  const { commandId } = job;
  if (job.result !== undefined)
    throw refused(`${commandId} has ended meanwhile (${job.result.outcome}); see plexi-node-agent status`);
  if (!Executor.knows(job))
    throw refused(
      `${commandId} has a step that this agent does not know, so it cannot take it back; start the agent that began it, or say plexi-node-agent restore`,
    );
  if (!isGivenUpgrade(job))
    throw refused(`${commandId} is not taken back on ${hands.node.config.node}; ${howItEnds(hands, job)}`);
  if (job.committed)
    throw refused(
      `${commandId} has committed; ${howItEnds(hands, job)}, then see whether --force-after-commit is possible`,
    );
}

/** A job that came to its end all the same was not taken back. */
function backOrRefused(commandId: string, result: JobResult): JobResult {
  if (result.outcome === 'rolled_back' || result.outcome === 'rollback_failed') return result;
  throw refused(
    `${commandId} has committed and has ended (${result.outcome}); see whether plexi-node-agent rollback --force-after-commit is possible`,
  );
}

/** What brings an open job to its end. */
function howItEnds({ executor }: Hands, { commandId }: Job): string {
  if (executor.runningCommandId === commandId) return 'wait for its end';
  const why = executor.broken === undefined ? '' : ` (${executor.broken.message})`;
  return `nothing works on it${why}: start plexi-node-agent, which brings it to its end`;
}

/** Code alone goes back, and only where the data is the same for both. */
async function rollBackCommitted(hands: Hands, said: Said, isForced: boolean): Promise<Begun> {
  const { node, journal } = hands;
  refuseTrouble(hands);
  const { config, paths } = node;
  const from = await localRelease(paths, await linkedFolder(paths.current));
  const to = await wholeCopyOf(node, await linkedFolder(paths.previous));
  if (to === undefined || from === undefined || to.folder === from.folder)
    throw new PlexiError(
      'NOT_FOUND',
      `${config.node} has no previous release to go back to; nothing was changed`,
    );
  const migrations = [
    ...migrationsBetween(to.manifest, from.manifest, 'forward'),
    ...migrationsBetween(from.manifest, to.manifest, 'forward'),
  ];
  if (migrations.length > 0) {
    const ids = migrations.map(({ id }) => id).join(', ');
    const made = journal.list().findLast((job) => backupMadeBy(job) !== '');
    const backup = made === undefined ? 'ID' : backupMadeBy(made);
    throw refused(
      `between ${to.version} and ${from.version} the data of ${config.node} was migrated (${ids}), so the release alone cannot go back; plexi-node-agent restore --backup ${backup} takes both back, and loses what was written since`,
    );
  }
  if (!isForced)
    throw refused(
      `${config.node} has committed ${from.version}; to go back to ${to.version} all the same, say plexi-node-agent rollback --force-after-commit`,
    );
  await refuseChanged(node, to);
  const facts = await factsOf(node, { folderAfter: to.folder });
  return start(hands, { word: 'rollback' }, said, facts);
}

/** The copy from which a release is run: one that was damaged may have an intact one beside it. */
async function wholeCopyOf(
  { paths }: AgentNode,
  folder: string | undefined,
): Promise<LocalRelease | undefined> {
  const named = await localRelease(paths, folder);
  if (named === undefined) return undefined;
  return localRelease(paths, await folderToRun(paths.releases, named.version, named.digest));
}

/** Before anything is stopped: what shall run must be what its manifest says. */
async function refuseChanged(node: AgentNode, release: LocalRelease): Promise<void> {
  const [first] = await changesOf(node, release);
  if (first === undefined) return;
  throw refused(
    `release ${release.version} on ${node.config.node} is not what its manifest says any more (${first}), so going back to it is not safe; put that file right, then say this again`,
  );
}

async function maintenanceOff(hands: Hands, said: Said): Promise<Begun> {
  const { node, journal, executor } = hands;
  const open = journal.open();
  if (open !== undefined) {
    const orBack = canBeTakenBack(open) ? ', or take it back with plexi-node-agent rollback' : '';
    throw refused(
      `${open.commandId} is under way on ${node.config.node}; ${howItEnds(hands, open)}${orBack}`,
    );
  }
  if (executor.broken !== undefined) throw executor.broken;
  if (node.maintenance.current === undefined)
    throw refused(`${node.config.node} is not in maintenance; there is nothing to do`);
  refuseEndlessJobs(node.config.node, journal.list(), false);
  return start(hands, { word: 'maintenance_off' }, said, await factsOf(node, {}));
}

/** Writes the record with which a word's own job begins, and begins it. Inside the critical section. */
export async function start(
  { node, journal, executor }: Pick<Hands, 'node' | 'journal' | 'executor'>,
  act: Exclude<ByHand['act'], { word: 'take_back' }>,
  said: Said,
  facts: JobFacts,
  setAside: readonly string[] = [],
): Promise<Begun> {
  // Before the record: one that nobody carries out now would be carried out by the next agent.
  const running = executor.runningCommandId;
  if (running !== undefined)
    throw refused(`${running} is just ending on ${node.config.node}; say it again in a moment`);
  const commandId = freeId(journal, act.word, node.clock.wall());
  const job = await journal.append({
    kind: 'by_hand',
    commandId,
    act,
    ...pick(said),
    setAside: [...setAside],
    step: firstStepOf(act.word),
    facts,
  });
  node.log.warn({ commandId, act, ...pick(said), setAside }, 'by hand');
  return { ended: executor.start(job) };
}

/** How the node is before a word is obeyed; what is not said stays as it is. */
export async function factsOf(
  { paths, maintenance }: AgentNode,
  more: { folderAfter?: string | null; backupId?: string },
): Promise<JobFacts> {
  const folderBefore = (await linkedFolder(paths.current)) ?? null;
  return {
    wasInMaintenance: maintenance.current !== undefined,
    folderBefore,
    previousBefore: (await linkedFolder(paths.previous)) ?? null,
    folderAfter: folderBefore,
    backupId: '',
    ...more,
  };
}

/** A node that asks is put right first. */
function refuseTrouble({ node, needsOperator }: Hands): void {
  const trouble = needsOperator();
  if (trouble === undefined) return;
  throw refused(
    `${node.config.node} asks for an operator (${trouble.message}); plexi-node-agent status says what to do first`,
  );
}

function freeId(journal: Journal, word: string, at: Date): string {
  const name = `by-hand-${word.replaceAll('_', '-')}-${timeInName(at)}`;
  for (let copy = 1; ; copy++) {
    const id = copy === 1 ? name : `${name}-${copy}`;
    if (journal.find(id) === undefined) return id;
  }
}

function pick({ by, reason }: Said): Said {
  return { by, reason };
}

function refused(message: string): PlexiError {
  return new PlexiError('CONFLICT', message);
}
