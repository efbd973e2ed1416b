/**
 * `plexi-node-agent restore`: the operator's word for a node that holds. Unreadable state goes to
 * agent/quarantine/; then data and version come from a backup, or what lies there is taken as it is. It
 * works only while no agent runs, because the agent has journal and fence in hand (decision 11). Everything
 * that can be refused is refused before anything of the node's state changes, and what an agent has left
 * running is ended before that.
 */
import { lstat } from 'node:fs/promises';
import { join } from 'node:path';
import { defaults } from '../../config/defaults.js';
import { PlexiError } from '../../config/errors.js';
import { installedCopies } from '../../release/repository/installed.js';
import { folderToRun } from '../../release/repository/place.js';
import { NONE } from '../../release/version.js';
import { Fence } from '../api/fence.js';
import { usableKeys } from '../backup/keys.js';
import { readManifestOf } from '../backup/verify.js';
import { isSystemError } from '../disk/system-error.js';
import { timeInName } from '../disk/time-in-name.js';
import { Journal } from '../journal/journal.js';
import type { ByHand, JobFacts } from '../journal/records.js';
import { type AgentNode, linkedFolder } from '../node.js';
import { isNewNode, openIdentity } from '../open-identity.js';
import { fenceDisk, journalDisk } from '../state-disk.js';
import { backupDirectoryOf } from '../upgrade/backup.js';
import { Executor } from '../upgrade/executor.js';
import { firstStepOf } from './acts.js';
import { factsOf, type Said, start } from './hands.js';
import { type ByHandOutcome, checkSaid } from './requests.js';
import { replaceJournal, setStateAside } from './set-aside.js';
import { endLeftRunning, refuseUnknownService } from './still-runs.js';
import { canBeTakenBack } from './take-back.js';
import { unreadableState } from './unreadable.js';

export interface RestoreOrder extends Said {
  /** The backup; undefined: what lies there is taken as it is. */
  readonly backupId: string | undefined;
  /** The folder of the backups, relative to the root; undefined: where the last jobs had it. */
  readonly directory: string | undefined;
}

type Act = Extract<ByHand['act'], { word: 'restore' | 'as_it_is' }>;

/** Does the whole of it. The caller holds the node's door. */
export async function restoreByHand(
  node: AgentNode,
  order: RestoreOrder,
  newId: () => string,
): Promise<ByHandOutcome & { setAside: string[] }> {
  checkSaid({ by: order.by, reason: order.reason });
  const unreadable = await unreadableState(node.config, node.paths);
  const readable = unreadable.some(({ kind }) => kind === 'journal') ? undefined : await openJournal(node);
  refuseBesideJob(readable);
  const { act, facts } = await whatToDo(node, order, readable);
  await endLeftRunning(node);
  await refuseUnknownService(node, unreadable, readable);
  await makeIdentityOfNew(node, newId);
  const aside = await setStateAside(node, unreadable, newId);
  const said = { by: order.by, reason: order.reason };
  let ended: Promise<ByHandOutcome>;
  if (readable === undefined) {
    const commandId = `by-hand-${act.word.replaceAll('_', '-')}-after-quarantine-${timeInName(node.clock.wall())}`;
    const name = await replaceJournal(node, (journalName) => ({
      kind: 'by_hand',
      commandId,
      act,
      ...said,
      setAside: [...aside, journalName],
      step: firstStepOf(act.word),
      facts,
    }));
    aside.push(name);
    ended = resume(node);
  } else {
    await closeOpenJob(node, readable, said);
    const executor = new Executor(node, readable);
    const begun = await start({ node, journal: readable, executor }, act, said, facts, aside);
    ended = begun.ended.then((result) => outcomeOf(node, result));
  }
  return { ...(await ended), setAside: aside };
}

/** Before the first record: a journal without fence and identity is one that has lost them. */
async function makeIdentityOfNew(node: AgentNode, newId: () => string): Promise<void> {
  if (await isNewNode(node.paths, await Fence.open(fenceDisk(node.paths)))) await openIdentity(node, newId);
}

async function resume(node: AgentNode): Promise<ByHandOutcome> {
  const journal = await openJournal(node);
  const open = journal.open();
  if (open === undefined) throw new Error('the new journal begins with an open job');
  return outcomeOf(node, await new Executor(node, journal).start(open));
}

function outcomeOf(
  node: AgentNode,
  { outcome, release, failure }: Omit<ByHandOutcome, 'inMaintenance'>,
): ByHandOutcome {
  return { outcome, release, failure, inMaintenance: node.maintenance.current !== undefined };
}

function openJournal(node: AgentNode): Promise<Journal> {
  return Journal.open(journalDisk(node.paths.journal), () => node.clock.wall());
}

/** What a restart of the agent would finish by itself is not cut off by a restore. */
function refuseBesideJob(journal: Journal | undefined): void {
  const open = journal?.open();
  if (open === undefined || isStuck(open)) return;
  const orBack = canBeTakenBack(open) ? ', or take it back with plexi-node-agent rollback' : '';
  throw new PlexiError(
    'CONFLICT',
    `${open.commandId} is open; start plexi-node-agent, which brings it to its end${orBack}`,
  );
}

/** A job with a step that this agent does not know: no start takes it up. */
function isStuck(open: NonNullable<ReturnType<Journal['open']>>): boolean {
  return !Executor.knows(open);
}

/** A job that nothing can finish ends here, and says so. */
async function closeOpenJob(node: AgentNode, journal: Journal, { by, reason }: Said): Promise<void> {
  const open = journal.open();
  if (open === undefined) return;
  await journal.append({
    kind: 'finished',
    commandId: open.commandId,
    result: {
      outcome: 'rollback_failed',
      failure: { code: 'ROLLBACK_FAILED', message: `given up on the node by ${by}: ${reason}` },
      failedStep: (open.goingBack?.begun ?? open.begun).at(-1) ?? '',
      release: { version: '', digest: '' },
      timings: [],
      backupId: open.facts.backupId,
    },
  });
  node.log.warn({ commandId: open.commandId, by, reason }, 'given up by hand');
}

async function whatToDo(
  node: AgentNode,
  { backupId, directory }: RestoreOrder,
  journal: Journal | undefined,
): Promise<{ act: Act; facts: JobFacts }> {
  if (backupId === undefined) return { act: { word: 'as_it_is' }, facts: await factsOf(node, {}) };
  const found = await findBackup(node, backupId, directory, journal);
  const folderAfter = await folderOf(node, backupId, found.version, journal);
  return {
    act: { word: 'restore', directory: found.directory },
    facts: await factsOf(node, { folderAfter, backupId }),
  };
}

/** The policy of backups comes with orders (decision 6), so the folder is where the last orders had it. */
async function findBackup(
  node: AgentNode,
  id: string,
  given: string | undefined,
  journal: Journal | undefined,
): Promise<{ directory: string; version: string }> {
  if (id.includes('/') || id.startsWith('.'))
    throw new PlexiError('USAGE', `${JSON.stringify(id)} is no backup's id; see the folder of the backups`);
  const known = (journal?.list() ?? []).toReversed().map(backupDirectoryOf);
  const places = given === undefined ? [...known, defaults.update.backup.directory] : [given];
  for (const directory of places.filter((place) => place !== undefined)) {
    const backupDir = join(node.paths.root, directory, id);
    if (!(await isThere(backupDir))) continue;
    const { version } = await readManifestOf({ backupDir, keys: usableKeys(node.backupKeys), id });
    return { directory, version };
  }
  throw new PlexiError(
    'NOT_FOUND',
    `there is no backup ${id} on ${node.config.node} in ${[...new Set(places)].join(', ')}; name its folder with --directory`,
  );
}

async function isThere(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (thrown) {
    if (isSystemError(thrown, 'ENOENT')) return false;
    throw thrown;
  }
}

/** The release that ran when the backup was made: by the journal, by the links, or by its version. */
async function folderOf(
  node: AgentNode,
  backupId: string,
  version: string,
  journal: Journal | undefined,
): Promise<string | null> {
  if (version === NONE) return null;
  const { paths, config } = node;
  const job = journal
    ?.list()
    .find(({ facts, begun }) => facts.backupId === backupId && begun.includes('backup'));
  const copies = await installedCopies(paths.releases, version);
  const wanted = [
    job?.facts.folderBefore,
    await linkedFolder(paths.current),
    await linkedFolder(paths.previous),
  ];
  const [copy = copies[0]] = wanted.flatMap((one) => copies.filter(({ folder }) => folder === one));
  // A job may have run because that very copy was damaged: an intact one stands beside it then.
  if (copy !== undefined) return folderToRun(paths.releases, version, copy.treeDigest);
  throw new PlexiError(
    'RELEASE_NOT_FOUND',
    `the backup ${backupId} belongs to ${version}, which is not on ${config.node} any more; nothing was changed`,
  );
}
