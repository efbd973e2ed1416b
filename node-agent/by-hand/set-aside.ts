/**
 * Unreadable state goes to agent/quarantine/, and something readable takes its place that knows less and
 * allows less: a fence that no command passes before an adoption, maintenance that goes on, an empty
 * journal. Called for one operator's word, and again for the same word after a crash.
 *
 * Order matters. The fence is renewed before the journal leaves, because the journal holds tokens that the
 * fence's file does not (decision 9); the new journal is made beside the old one with its first record in it,
 * so that no start of an agent meets an empty one.
 */
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { compareTokens, Fence, type FenceState, type FenceToken, openFence } from '../api/fence.js';
import { ensureFolder, removeTreeDurably, syncFolder, writeDurably } from '../disk/durable-file.js';
import { setAside } from '../disk/quarantine.js';
import { isSystemError } from '../disk/system-error.js';
import { timeInName } from '../disk/time-in-name.js';
import { renewInstallIdentity } from '../install-identity.js';
import { Journal } from '../journal/journal.js';
import { journalRecord, type NewRecord } from '../journal/records.js';
import type { AgentNode, NodePaths } from '../node.js';
import { fenceDisk, journalDisk, maintenanceFile } from '../state-disk.js';
import type { UnreadableState } from './unreadable.js';

/**
 * Sets everything aside but the journal. @returns the names in the quarantine
 * @param newId makes the id of a new installation, when the old one cannot be read
 */
export async function setStateAside(
  node: Pick<AgentNode, 'paths' | 'clock'>,
  unreadable: readonly UnreadableState[],
  newId: () => string,
): Promise<string[]> {
  const { paths, clock } = node;
  const isLost = new Set(unreadable.map(({ kind }) => kind));
  const known = isLost.has('fence') || isLost.has('journal') ? await knownFence(paths) : undefined;
  const names: string[] = [];
  for (const { kind, path } of unreadable) {
    if (kind === 'journal') continue;
    const name = await setAside(paths.quarantine, path, clock.wall());
    if (name !== undefined) names.push(name);
  }
  if (known !== undefined) await Fence.renew(fenceDisk(paths), known);
  if (isLost.has('maintenance')) await stayInMaintenance(paths, clock.wall());
  for (const { kind, path } of unreadable) if (kind === 'service') await removeTreeDurably(path);
  if (isLost.has('identity')) await renewInstallIdentity(paths.identity, newId);
  return names;
}

/** Puts a journal with one record in the place of one that cannot be read. @returns the old one's name in the quarantine */
export async function replaceJournal(
  { paths, clock }: Pick<AgentNode, 'paths' | 'clock'>,
  first: (setAsideAs: string) => NewRecord,
): Promise<string> {
  const next = nextJournal(paths);
  await removeTreeDurably(next);
  await ensureFolder(next, 0o700);
  // The name is told in the record, so it is taken before the folder moves there.
  const name = `${timeInName(clock.wall())}-journal`;
  const journal = await Journal.open(journalDisk(next), () => clock.wall());
  await journal.append(first(name));
  await rename(paths.journal, join(paths.quarantine, name));
  await finishReplacing(paths);
  return name;
}

/** After a crash between the two renames: the new journal takes its place. For the start of every agent. */
export async function finishReplacing(paths: NodePaths): Promise<void> {
  try {
    // Refused as long as the old journal stands there with anything in it.
    await rename(nextJournal(paths), paths.journal);
  } catch (thrown) {
    if (['ENOENT', 'ENOTEMPTY', 'EEXIST'].some((code) => isSystemError(thrown, code))) return;
    throw thrown;
  }
  await syncFolder(paths.quarantine);
  await syncFolder(paths.agent);
}

function nextJournal({ agent }: NodePaths): string {
  return join(agent, 'journal-next');
}

/** Out of service it was, and stays so: nobody knows why. */
async function stayInMaintenance(paths: NodePaths, at: Date): Promise<void> {
  const record = {
    reason: 'the record of maintenance could not be read; end it with plexi-node-agent maintenance off',
    since: at.toISOString(),
  };
  await writeDurably(maintenanceFile(paths), `${JSON.stringify(record)}\n`);
}

/** The highest token of the fence and of every record that can still be read; the lineage, if the fence can. */
async function knownFence(paths: NodePaths): Promise<Pick<FenceState, 'token' | 'lineage'>> {
  const { current = openFence } = await Fence.open(fenceDisk(paths));
  let highest: FenceToken = current.token;
  const disk = journalDisk(paths.journal);
  for (const name of await disk.list().catch(() => [])) {
    const bytes = await disk.read(name).catch(() => undefined);
    const token = tokenIn(bytes);
    if (token !== undefined && compareTokens(token, highest) > 0) highest = token;
  }
  return { token: highest, lineage: current.lineage };
}

function tokenIn(bytes: Uint8Array | undefined): FenceToken | undefined {
  try {
    const record = journalRecord.parse(JSON.parse(Buffer.from(bytes ?? []).toString('utf8')));
    if (record.kind !== 'accepted') return undefined;
    const { epoch, term, seq } = record.token;
    return { epoch: BigInt(epoch), term: BigInt(term), seq: BigInt(seq) };
  } catch {
    // It is this record that cannot be read.
    return undefined;
  }
}
