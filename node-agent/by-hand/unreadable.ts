/**
 * State of a node that cannot be read. It is never guessed at and never removed: the node holds, says
 * what it is, and an operator's `plexi-node-agent restore` moves it to agent/quarantine/.
 */
import { join } from 'node:path';
import { asPlexiError, type ErrorCode, PlexiError } from '../../config/errors.js';
import type { NodeAgentConfig } from '../../config/schema/node-agent.js';
import { Fence } from '../api/fence.js';
import { readInstallIdentity } from '../install-identity.js';
import { Journal } from '../journal/journal.js';
import type { NodePaths } from '../node.js';
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
  const identity = await readInstallIdentity(paths.identity).catch(asError);
  if (identity instanceof PlexiError)
    tell('identity', join(paths.identity, 'install.json'), 'CONFIG_INVALID', identity.message);
  const fence = await openFence(paths);
  if (fence !== undefined && identity !== undefined)
    tell('fence', fenceFile(paths), 'FENCE_UNREADABLE', `${fence}; ${byAnOperator}`);
  const maintenance = await maintenanceDamage(paths);
  if (maintenance !== undefined)
    tell('maintenance', maintenanceFile(paths), 'STORE_INVALID', `${maintenance}; ${byAnOperator}`);
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

/** Why no fence can be had; undefined when it can. */
async function openFence(paths: NodePaths): Promise<string | undefined> {
  const fence = await Fence.open(fenceDisk(paths)).catch(asError);
  return fence instanceof PlexiError ? fence.message : fence.broken;
}

async function maintenanceDamage(paths: NodePaths): Promise<string | undefined> {
  const maintenance = await Maintenance.open(maintenanceFile(paths), {}).catch(asError);
  return maintenance instanceof PlexiError ? maintenance.message : maintenance.unreadable;
}

function asError(thrown: unknown): PlexiError {
  return asPlexiError(thrown, 'STORE_INVALID', 'state of this node cannot be read');
}
