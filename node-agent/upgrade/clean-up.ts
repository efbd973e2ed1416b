/**
 * Old releases and backups go once an upgrade has ended well, or is taken back: at no other moment is it sure
 * what the node needs. Invariant: what is live, or what a job of the journal may still go back to, is never
 * removed; and a clean-up that fails makes no job fail.
 */
import { join } from 'node:path';
import { defaults } from '../../config/defaults.js';
import { limits } from '../../config/limits.js';
import { Command, type UpgradeStep } from '../../gen/plexi/v1/node_agent.js';
import { releasesByAge, removeRelease } from '../../release/repository/old-releases.js';
import { whileNothingIsStaged } from '../../release/repository/turns.js';
import { listBackups, pruneBackups } from '../backup/retention.js';
import type { Job } from '../journal/journal.js';
import { type AgentNode, linkedFolder, localRelease } from '../node.js';
import { foldersInUse } from '../service/release-processes.js';
import { isCopied } from '../takeover/copied-release.js';
import { realPathOf } from '../takeover/running-process.js';
import { backupDirectoryOf, backupDirectoryProblem, backupPolicyOf } from './backup.js';

/**
 * What follows on the end of a job, whose record is on the disk. Never throws. Ends early once the signal is aborted.
 * @param jobs all that the journal holds, oldest first, this one among them
 */
export async function cleanUpAfter(
  node: AgentNode,
  job: Job,
  jobs: readonly Job[],
  signal: AbortSignal,
): Promise<void> {
  const { step } = Command.fromJSON(job.command);
  if (step?.$case !== 'upgrade') return;
  if (!job.committed && job.result?.outcome !== 'rolled_back') return;
  const { commandId } = job;
  const needing = jobs.filter((one) => one === job || one.result === undefined);
  // An operator may take back what was committed last, however many tries have failed since.
  const lastCommitted = jobs.filter(({ committed }) => committed).slice(-1);
  try {
    await pruneOldBackups(node, step.value, [...needing, ...lastCommitted], signal);
    await whileNothingIsStaged(node.paths.releases, () => removeOldReleases(node, needing, jobs, signal));
  } catch (err) {
    node.log.warn({ commandId, err }, 'old releases or backups could not be removed');
  }
}

async function pruneOldBackups(
  node: AgentNode,
  order: UpgradeStep,
  needing: readonly Job[],
  signal: AbortSignal,
): Promise<void> {
  if (!order.backup) return;
  const { directory, keep, retentionDays } = backupPolicyOf(order);
  // It comes from a controller, and the step that refuses such a directory may not have been reached.
  if (backupDirectoryProblem(directory, node.config.backup.paths) !== undefined) return;
  const { removed } = await pruneBackups({
    directory: join(node.paths.root, directory),
    keep,
    retentionDays,
    now: node.clock.wall(),
    pinned: new Set(needing.map(({ facts }) => facts.backupId)),
    signal,
  });
  if (removed.length > 0) node.log.info({ removed }, 'old backups were removed');
}

async function removeOldReleases(
  node: AgentNode,
  needing: readonly Job[],
  jobs: readonly Job[],
  signal: AbortSignal,
): Promise<void> {
  const { releases } = node.paths;
  const linked = await linkedFolders(node);
  if (linked === undefined) return;
  const kept = new Set<string | null>(linked);
  for (const { facts } of needing)
    for (const folder of [facts.folderBefore, facts.previousBefore, facts.folderAfter]) kept.add(folder);
  const older = (await releasesByAge(releases)).slice(limits.releasesKept);
  const versions = await versionsOfBackups(node, jobs);
  const old = older
    .filter(
      ({ folder, version, manifest }) => !kept.has(folder) && !versions.has(version) && !isCopied(manifest),
    )
    .map(({ folder }) => folder);
  if (old.length === 0) return;
  const inUse = await foldersInUse(releases, old);
  for (const folder of old.filter((one) => !inUse.has(one))) {
    if (signal.aborted) return;
    if (await removeRelease(releases, folder)) node.log.info({ folder }, 'an old release was removed');
  }
}

/** Where the links of the node lead; undefined when `current` leads to no release, and nothing is sure. */
async function linkedFolders({ paths }: AgentNode): Promise<string[] | undefined> {
  const current = await linkedFolder(paths.current);
  if (current === undefined || (await localRelease(paths, current)) === undefined) return undefined;
  const [leadsTo, folder] = await Promise.all([
    realPathOf(paths.current),
    realPathOf(join(paths.releases, current)),
  ]);
  if (leadsTo === undefined || leadsTo !== folder) return undefined;
  const others = [await linkedFolder(paths.previous), await linkedFolder(paths.trial)];
  return [current, ...others.filter((one) => one !== undefined)];
}

/** A backup is restored together with the release that it was made of. */
async function versionsOfBackups({ paths, config }: AgentNode, jobs: readonly Job[]): Promise<Set<string>> {
  const directories = new Set([defaults.update.backup.directory, ...jobs.map(backupDirectoryOf)]);
  const versions = new Set<string>();
  for (const directory of directories) {
    if (directory === undefined || backupDirectoryProblem(directory, config.backup.paths) !== undefined)
      continue;
    for (const { facts } of await listBackups(join(paths.root, directory)))
      if (facts !== undefined) versions.add(facts.version);
  }
  return versions;
}
