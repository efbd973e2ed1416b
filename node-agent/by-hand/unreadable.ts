/**
 * State of a node that cannot be read. It is never guessed at and never removed: the node holds, says
 * what it is, and an operator's `plexi-node-agent restore` moves it to agent/quarantine/.
 */
import { join } from 'node:path';
import { asPlexiError, type ErrorCode, PlexiError } from '../../config/errors.js';
import type { NodeAgentConfig } from '../../config/schema/node-agent.js';
import { Fence } from '../api/fence.js';
import { identityFile, readInstallIdentity } from '../install-identity.js';
import { Journal } from '../journal/journal.js';
import type { NodePaths } from '../node.js';
import { isNewNode } from '../open-identity.js';
import { Maintenance } from '../service/maintenance.js';
import { readServiceRecord } from '../service/service-record.js';
import { fenceDisk, fenceFile, journalDisk, maintenanceFile } from '../state-disk.js';

export type StateKind = 'identity' | 'fence' | 'journal' | 'maintenance' | 'service';

export interface UnreadableState {
  readonly kind: StateKind;
  /** Absolute; a folder for the journal. */
  readonly path: string;
  readonly code: ErrorCode;
  /** One sentence. */
  readonly message: string;
}

const byAnOperator = 'the node holds until an operator says plexi-node-agent restore on it';

/** All of it, the journal included. Writes nothing. */
export async function unreadableState(config: NodeAgentConfig, paths: NodePaths): Promise<UnreadableState[]> {
  return [...(await unreadableJournal(paths)), ...(await unreadableBesideJournal(config, paths))];
}

/** What is unreadable beside the journal, which whoever runs jobs opens by itself. */
export async function unreadableBesideJournal(
  config: NodeAgentConfig,
  paths: NodePaths,
): Promise<UnreadableState[]> {
  const found: UnreadableState[] = [];
  const tell = (kind: StateKind, path: string, code: ErrorCode, message: string): void => {
    found.push({ kind, path, code, message });
  };
  const fence = await Fence.open(fenceDisk(paths));
  const identity = await readInstallIdentity(paths.identity).catch(asError);
  // An agent that died at its very first start has neither of the two, or a fence that was never raised.
  const isNew = await isNewNode(paths, fence);
  if (fence.broken !== undefined && !isNew)
    tell('fence', fenceFile(paths), 'FENCE_UNREADABLE', `${fence.broken}; ${byAnOperator}`);
  if (identity instanceof PlexiError)
    tell('identity', identityFile(paths.identity), 'CONFIG_INVALID', identity.message);
  if (identity === undefined && !isNew) tell('identity', ...lostIdentity(paths));
  const { unreadable: damage } = await Maintenance.open(maintenanceFile(paths), {});
  if (damage !== undefined)
    tell('maintenance', maintenanceFile(paths), 'STORE_INVALID', `${damage}; ${byAnOperator}`);
  for (const { name, adapter } of config.services) {
    const file = join(paths.run, `${name}.json`);
    const record = adapter === 'process' ? await readServiceRecord(file).catch(asError) : undefined;
    if (record instanceof PlexiError) tell('service', file, 'STOP_FAILED', record.message);
  }
  return found;
}

async function unreadableJournal(paths: NodePaths): Promise<UnreadableState[]> {
  const journal = await Journal.open(journalDisk(paths.journal), () => new Date()).catch(asError);
  if (!(journal instanceof PlexiError)) return [];
  return [{ kind: 'journal', path: paths.journal, code: 'JOURNAL_UNREADABLE', message: journal.message }];
}

function lostIdentity({ identity }: NodePaths): [path: string, code: ErrorCode, message: string] {
  const file = identityFile(identity);
  const message = `${file} is missing, although an agent was at work here before; put that file back, or say plexi-node-agent restore on the node, which makes a new one`;
  return [file, 'CONFIG_INVALID', message];
}

/**
 * The first of what was found that is still so. A word by hand or a controller's command ends damaged
 * maintenance while the agent runs; the rest is put right only by `restore`, without it.
 */
export function stillUnreadable(
  found: readonly UnreadableState[],
  maintenance: Pick<Maintenance, 'unreadable'>,
): UnreadableState | undefined {
  return found.find(({ kind }) => kind !== 'maintenance' || maintenance.unreadable !== undefined);
}

function asError(thrown: unknown): PlexiError {
  return asPlexiError(thrown, 'STORE_INVALID', 'state of this node cannot be read');
}
