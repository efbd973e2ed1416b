/**
 * What an operator's word on the node does, step by step. It is a job like any other: each step is in the
 * journal before it begins and may be begun again, so an agent that is started after a crash in the
 * middle takes it up (protocol, rules 8 and 9), and commands of a controller find the node busy.
 */
import { defaults } from '../../config/defaults.js';
import { asPlexiError, type PlexiError } from '../../config/errors.js';
import { usableKeys } from '../backup/keys.js';
import { restoreBackup } from '../backup/restore.js';
import { removeLinkDurably } from '../disk/durable-file.js';
import { triedAgain } from '../disk/refusal.js';
import type { Job } from '../journal/journal.js';
import type { ByHand } from '../journal/records.js';
import { type AgentNode, type LocalRelease, linkedFolder, localRelease } from '../node.js';
import { ensureRunning, switchLinks } from '../upgrade/apply.js';
import { backupFolder } from '../upgrade/backup.js';
import { hookRun } from '../upgrade/maintenance.js';
import { awaitHealthy } from '../upgrade/probe.js';

type ActWord = Exclude<ByHand['act']['word'], 'take_back'>;

/** The step in which the service is started: from then on its unit may start it, too. */
export const startByHandStep = 'start_by_hand';
/** The step after it: the service says of itself that it is healthy, and which version it has. */
export const probeByHandStep = 'probe_by_hand';
/** The step of putting a node back into service. */
export const maintenanceOffStep = 'maintenance_off_by_hand';
/** The step of taking the disk as it is. */
export const asItIsStep = 'as_it_is';

const stepsOf: Readonly<Record<ActWord, readonly string[]>> = {
  rollback: ['stop_by_hand', 'switch_by_hand', startByHandStep, probeByHandStep],
  restore: ['stop_by_hand', 'restore_by_hand', 'switch_by_hand', startByHandStep, probeByHandStep],
  as_it_is: [asItIsStep],
  maintenance_off: [maintenanceOffStep],
};

/** The steps of a word, in their order. */
export function stepsOfWord(word: ActWord): readonly string[] {
  return stepsOf[word];
}

/** The step that a word begins with; its name goes into the record. */
export function firstStepOf(word: ActWord): string {
  return stepsOf[word][0] ?? '';
}

/** What an operator did, when that is the whole job; undefined for a job that a controller gave. */
export function ownByHand(job: Job): ByHand | undefined {
  return job.byHand?.act.word === 'take_back' ? undefined : job.byHand;
}

/** Why a job went back that an operator on the node has taken back. */
export function takenBackBy({ by, reason }: Pick<ByHand, 'by' | 'reason'>): string {
  return `taken back on the node by ${by}: ${reason}`;
}

export interface ByHandRun {
  readonly node: AgentNode;
  readonly job: Job;
  /** Writes the record before a step; not called for the first one, which stands there already. */
  announce(done: string, step: string): Promise<void>;
}

/** Does all that is left of it. Returns where and why it stopped; undefined when it is done. */
export async function carryOut(
  run: ByHandRun,
): Promise<{ failedStep: string; error: PlexiError } | undefined> {
  const word = run.job.byHand?.act.word;
  if (word === undefined || word === 'take_back') throw new Error('this job was begun by a controller');
  let before: string | undefined;
  const begun = stepsOf[word].indexOf(run.job.begun.at(-1) ?? '');
  // Never from the first one instead: a restore would write over what was written since.
  if (begun < 0) throw new Error(`${word} by hand has no step ${run.job.begun.at(-1)}`);
  for (const step of stepsOf[word].slice(begun)) {
    if (before !== undefined) await run.announce(before, step);
    try {
      await triedAgain(() => takeStep(run, step));
    } catch (thrown) {
      return { failedStep: step, error: asPlexiError(thrown, 'INTERNAL', step) };
    }
    before = step;
  }
  return undefined;
}

async function takeStep({ node, job }: ByHandRun, step: string): Promise<void> {
  switch (step) {
    case 'stop_by_hand':
      node.monitor.pause();
      return node.service.stop(defaults.timeouts.stopMs);
    case 'restore_by_hand':
      return restore(node, job);
    case 'switch_by_hand': {
      const { folderBefore, folderAfter } = job.facts;
      const previous = folderBefore === folderAfter ? job.facts.previousBefore : folderBefore;
      return switchLinks(node, { previous, trial: undefined, current: folderAfter });
    }
    case startByHandStep:
      await ensureRunning(node, await localRelease(node.paths, job.facts.folderAfter));
      return node.monitor.resume();
    case probeByHandStep:
      return probe(node, await localRelease(node.paths, job.facts.folderAfter));
    case asItIsStep:
      return takeAsItIs(node);
    case maintenanceOffStep:
      return endMaintenance(node, job);
    default:
      throw new Error(`nothing by hand has a step ${step}`);
  }
}

/** As after an upgrade: a started process proves nothing. No order says how, so the defaults do. */
async function probe(node: AgentNode, release: LocalRelease | undefined): Promise<void> {
  if (release === undefined) return;
  await ensureRunning(node, release);
  await awaitHealthy(node, release, { policy: defaults.probe, timeoutMs: defaults.timeouts.probeMs });
  node.monitor.reset();
}

async function restore(node: AgentNode, job: Job): Promise<void> {
  const act = job.byHand?.act;
  if (act?.word !== 'restore') throw new Error('only a restore restores');
  const { backupId: id } = job.facts;
  const backupDir = backupFolder(node.paths.root, act.directory, id);
  await restoreBackup({ root: node.paths.root, backupDir, keys: usableKeys(node.backupKeys), id });
}

/** From here on the agent keeps the service running, with what `current` leads to. */
async function takeAsItIs(node: AgentNode): Promise<void> {
  await removeLinkDurably(node.paths.trial);
  const release = await localRelease(node.paths, await linkedFolder(node.paths.current));
  node.monitor.expect(release?.version);
  node.monitor.reset();
}

async function endMaintenance(node: AgentNode, job: Job): Promise<void> {
  const timeoutMs = defaults.timeouts.maintenanceMs;
  const release = await localRelease(node.paths, await linkedFolder(node.paths.current));
  const bounds = { commandId: job.commandId, timeoutMs, signal: AbortSignal.timeout(timeoutMs) };
  await node.maintenance.leave({ ...hookRun(node, release, bounds), withHooks: true });
}
