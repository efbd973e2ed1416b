/**
 * A node whose agent does not run, in the hands of a program that a person has called. It holds the local
 * door for as long as it changes something, so no agent starts beside it.
 */
import { existsSync } from 'node:fs';
import type { Logger } from 'pino';
import { PlexiError } from '../../config/errors.js';
import type { NodeAgentConfig } from '../../config/schema/node-agent.js';
import { openJournal, openNode } from '../agent.js';
import { Fence } from '../api/fence.js';
import { backupKeyDamage } from '../backup/keys.js';
import { ensureFolder } from '../disk/durable-file.js';
import { installRelease } from '../install.js';
import { Journal } from '../journal/journal.js';
import { type AgentClock, type AgentNode, nodePaths } from '../node.js';
import { openServices } from '../service/adapters.js';
import { Maintenance } from '../service/maintenance.js';
import { serviceContext } from '../service/node-facts.js';
import { refuseOtherUser, startByHand } from '../start-by-hand.js';
import { fenceDisk, journalDisk, maintenanceFile } from '../state-disk.js';
import { failedJobTrouble } from '../takeover/failed-job.js';
import { Executor } from '../upgrade/executor.js';
import { askAt, doorOf, openDoor } from './door.js';
import { obey } from './hands.js';
import {
  type ByHandOutcome,
  type ByHandRequest,
  type NodeDocument,
  parseAnswer,
  started,
} from './requests.js';
import { type RestoreOrder, restoreByHand } from './restore.js';
import { nodeDocumentOf } from './status.js';
import { unreadableBesideJournal, unreadableState } from './unreadable.js';

export interface OfflineEnvironment {
  readonly clock: AgentClock;
  readonly log: Logger;
}

/** What the disk says; nothing is written. @throws PlexiError NOT_FOUND where no agent ever ran */
export async function statusOffline(config: NodeAgentConfig): Promise<NodeDocument> {
  const paths = nodePaths(config.root);
  if (!existsSync(paths.agent))
    throw new PlexiError(
      'NOT_FOUND',
      `no agent ever ran on ${config.node}: there is no ${paths.agent}; start plexi-node-agent, or correct root in its configuration`,
    );
  const journal = await Journal.open(journalDisk(paths.journal), () => new Date()).catch(() => undefined);
  const [damaged] = await unreadableState(config, paths);
  const maintenance = await Maintenance.open(maintenanceFile(paths), {});
  const service = openServices(config.services, config.root, () => serviceContext({ config, paths }));
  const node = { config, paths, service, maintenance };
  const fence = await Fence.open(fenceDisk(paths));
  for (const { token, commandId } of journal?.list() ?? []) fence.recall(token, commandId);
  const needsOperator =
    damaged ?? failedJobTrouble(journal?.list() ?? [], node) ?? (await backupKeyDamage(paths.identity));
  return nodeDocumentOf({ node, journal, fence, agentRuns: false, needsOperator });
}

/** Does what was said, without an agent. @throws PlexiError when it is refused */
export function obeyOffline(
  config: NodeAgentConfig,
  environment: OfflineEnvironment,
  request: Exclude<ByHandRequest, { word: 'status' }>,
): Promise<ByHandOutcome> {
  return withNode(config, environment, async (node) => {
    const [damaged] = await unreadableBesideJournal(config, node.paths);
    const { journal, unreadable } = await openJournal(node);
    if (unreadable !== undefined) throw unreadable;
    const executor = new Executor(node, journal);
    const needsOperator = () => damaged ?? executor.broken ?? failedJobTrouble(journal.list(), node);
    return obey({ node, journal, executor, needsOperator, exclusively: (work) => work() }, request);
  });
}

/** @throws PlexiError CONFLICT while the agent runs; else as `restoreByHand` */
export function restoreOffline(
  config: NodeAgentConfig,
  environment: OfflineEnvironment,
  order: RestoreOrder,
  newId: () => string,
): ReturnType<typeof restoreByHand> {
  return withNode(config, environment, (node) => restoreByHand(node, order, newId));
}

/** The first release of a node. @throws PlexiError CONFLICT while the agent runs; else as `installRelease` */
export function installOffline(
  config: NodeAgentConfig,
  environment: OfflineEnvironment,
  version: string,
): Promise<string> {
  return withNode(config, environment, (node) => installRelease(node, version));
}

/** Starts the service when an upgrade waits for a person to do so: by the agent, or without it. */
export async function startThroughDoor(config: NodeAgentConfig): Promise<{ version: string }> {
  await refuseOtherUser(config, 'start', process.geteuid?.());
  const asked = await askAt(doorOf(nodePaths(config.root).run), { word: 'start' });
  if (asked !== undefined) return parseAnswer(asked.answer, started);
  return withDoor(config, () => startByHand(config));
}

/** Holds the door, opens the node, and closes both. */
function withNode<T>(
  config: NodeAgentConfig,
  environment: OfflineEnvironment,
  work: (node: AgentNode) => Promise<T>,
): Promise<T> {
  return withDoor(config, async () => {
    const node = await openNode(config, environment);
    try {
      return await work(node);
    } finally {
      await node.monitor.stop();
      await node.closeLog();
    }
  });
}

/** Nobody else has the node meanwhile. @throws PlexiError CONFLICT while somebody has */
async function withDoor<T>(config: NodeAgentConfig, work: () => Promise<T>): Promise<T> {
  const { run } = nodePaths(config.root);
  await ensureFolder(run, 0o755);
  const door = await openDoor(doorOf(run), async () => {
    throw new PlexiError('BUSY', `a word by hand is at work on ${config.node}; wait for its end`);
  });
  try {
    return await work();
  } finally {
    await door.close();
  }
}
