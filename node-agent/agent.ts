/**
 * One node agent, from its configuration to a listening server. The order matters: identity and
 * fence, journal, the open job, and only then the service (protocol, rule 10).
 */
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Server } from '@grpc/grpc-js';
import type { Logger } from 'pino';
import { type ErrorCode, PlexiError } from '../config/errors.js';
import { limits } from '../config/limits.js';
import type { NodeAgentConfig } from '../config/schema/node-agent.js';
import { grpcServerCredentials } from '../config/tls.js';
import { openRepository } from '../release/repository/fetch.js';
import { CommandService } from './api/command-service.js';
import { Fence, type FenceDisk } from './api/fence.js';
import { NodeStatusSource } from './api/node-status.js';
import { createAgentServer, listen } from './api/server.js';
import { loadOrCreateBackupKeys } from './backup/keys.js';
import {
  createDurably,
  ensureFolder,
  readBounded,
  removeDurably,
  sweepTemporary,
  writeDurably,
} from './disk/durable-file.js';
import { hasInstallIdentity, openInstallIdentity } from './install-identity.js';
import { Journal, type JournalDisk } from './journal/journal.js';
import { openNodeLog } from './logs/update-log.js';
import { type AgentClock, type AgentNode, type NodePaths, nodePaths } from './node.js';
import { keepRegistered } from './register.js';
import { openServices } from './service/adapters.js';
import { type KeeperTurn, keepRunning } from './service/keeper.js';
import { Maintenance } from './service/maintenance.js';
import { HealthMonitor } from './service/monitor.js';
import { probeSubject, serviceContext } from './service/node-facts.js';
import { endOrphans } from './service/orphans.js';
import { failedJobTrouble } from './takeover/failed-job.js';
import { Executor } from './upgrade/executor.js';

/** What only main.ts makes: clocks, randomness, a log. */
export interface AgentEnvironment {
  readonly clock: AgentClock;
  readonly random: () => number;
  readonly newId: () => string;
  readonly log: Logger;
}

export interface RunningAgent {
  /** Where it listens. */
  readonly port: number;
  /** Stops the agent; the service runs on. */
  stop(): Promise<void>;
}

/** Starts an agent. @throws PlexiError when its root, its certificate or its address cannot be used */
export async function startAgent(
  config: NodeAgentConfig,
  environment: AgentEnvironment,
): Promise<RunningAgent> {
  const node = await openNode(config, environment);
  const { fence, install } = await openIdentity(node, environment);
  const { journal, unreadable } = await openJournal(node);
  for (const { token, commandId } of journal.list()) fence.recall(token, commandId);
  const executor = new Executor(node, journal);
  const needsOperator = (): { code: ErrorCode; message: string } | undefined =>
    unreadable ?? fenceTrouble(fence) ?? executor.broken ?? failedJobTrouble(journal.list(), node);
  const status = new NodeStatusSource(node, executor, install.installId, needsOperator);
  const commands = new CommandService(node, fence, journal, executor, status, unreadable);

  const recovery = unreadable === undefined ? await executor.recover() : undefined;
  const server = createAgentServer({ node, commands, status, fence });
  const port = await listen(server, config.listen, grpcServerCredentials(config.tls));
  node.log.info({ port, starts: install.starts }, 'the node agent listens');

  const stopping = new AbortController();
  const background = [
    serveWhenRecovered(
      node,
      recovery?.ended,
      {
        isIdle: () => executor.runningCommandId === undefined && needsOperator() === undefined,
        whileIdle: (work) => executor.whileIdle(work),
      },
      stopping.signal,
    ),
    keepRegistered(
      {
        config,
        installId: install.installId,
        counterBase: BigInt(install.starts) << 32n,
        jitter: environment.random,
        log: node.log,
      },
      stopping.signal,
    ),
  ];
  return {
    port,
    async stop() {
      stopping.abort();
      await stopServer(server);
      await Promise.all(background);
      // Last, because it is the background that starts it.
      await node.monitor.stop();
      await node.closeLog();
    },
  };
}

/** The fence of a new node is on the disk before its identity is: no crash leaves the one without the other. */
async function openIdentity(node: AgentNode, environment: AgentEnvironment) {
  const disk = fenceDisk(node.paths);
  const isNew = !(await hasInstallIdentity(node.paths.identity));
  const fence = isNew ? await Fence.create(disk) : await Fence.open(disk);
  return { fence, install: await openInstallIdentity(node.paths.identity, environment.newId) };
}

/** Opens folders, service, monitor and keys of a node; starts nothing. */
export async function openNode(
  config: NodeAgentConfig,
  environment: Omit<AgentEnvironment, 'random' | 'newId'>,
): Promise<AgentNode> {
  const paths = nodePaths(config.root);
  await mkdir(paths.root, { recursive: true });
  for (const folder of [paths.releases, paths.data, paths.config, paths.run])
    await ensureFolder(folder, 0o755);
  for (const folder of [paths.agent, paths.journal, paths.identity, paths.quarantine])
    await ensureFolder(folder, 0o700);
  for (const folder of [paths.root, paths.agent, paths.journal, paths.identity, paths.run])
    await sweepTemporary(folder);
  const { log, close: closeLog } = openNodeLog(paths.agent, config.node, environment.log);
  const service = openServices(config.services, paths.root, () => serviceContext({ config, paths }));
  const monitor = new HealthMonitor({
    probes: config.probes,
    intervalMs: config.probeIntervalMs,
    isRunning: () => service.isRunning(),
    subject: probeSubject({ config, paths, service }),
  });
  return {
    config,
    paths,
    service,
    monitor,
    maintenance: await Maintenance.open(join(paths.agent, 'maintenance.json'), config.maintenance),
    repository: openRepository(config.repository),
    backupKeys: await loadOrCreateBackupKeys(paths.identity),
    clock: environment.clock,
    log,
    closeLog,
    hookLogs: join(paths.agent, 'hooks'),
  };
}

/** First the open job, then the service, then the watch over both. */
async function serveWhenRecovered(
  node: AgentNode,
  ended: Promise<unknown> | undefined,
  turn: KeeperTurn,
  signal: AbortSignal,
): Promise<void> {
  await Promise.race([ended?.catch(() => undefined), aborted(signal)]);
  if (signal.aborted) return;
  await keepRunning(node, turn, signal);
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

/** The journal, once nothing of an earlier agent runs any more. With trouble the node holds, and asks. */
async function openJournal(
  node: AgentNode,
): Promise<{ journal: Journal; unreadable: PlexiError | undefined }> {
  const wall = (): Date => node.clock.wall();
  try {
    const journal = await Journal.open(journalDisk(node.paths.journal), wall);
    if (journal.open() !== undefined) {
      const ended = await endOrphans(node.paths.root);
      if (ended > 0) node.log.warn({ ended }, 'hooks or migrations of before the restart were ended');
    }
    return { journal, unreadable: undefined };
  } catch (thrown) {
    if (!(thrown instanceof PlexiError)) throw thrown;
    node.log.fatal({ err: thrown }, thrown.message);
    return { journal: await Journal.open(emptyDisk, wall), unreadable: thrown };
  }
}

function fenceTrouble(fence: Fence): { code: ErrorCode; message: string } | undefined {
  return fence.broken === undefined
    ? undefined
    : { code: 'FENCE_UNREADABLE', message: `${fence.broken}; an operator must adopt this node anew` };
}

export function journalDisk(folder: string): JournalDisk {
  return {
    list: () => readdir(folder),
    read: (name) => readBounded(join(folder, name), limits.journalRecordBytes),
    create: (name, bytes) => createDurably(join(folder, name), bytes, { mode: 0o600 }),
    remove: async (name) => {
      await removeDurably(join(folder, name));
    },
  };
}

/** Stands in for a journal that cannot be read: nothing is known, and nothing may be written. */
const emptyDisk: JournalDisk = {
  list: async () => [],
  read: async () => undefined,
  create: async () => {
    throw new PlexiError(
      'JOURNAL_UNREADABLE',
      'the journal of this node cannot be read, so nothing is written to it',
    );
  },
  remove: async () => undefined,
};

function fenceDisk(paths: NodePaths): FenceDisk {
  const file = join(paths.agent, 'fence.json');
  return {
    read: () => readBounded(file, limits.journalRecordBytes),
    write: (bytes) => writeDurably(file, bytes, { mode: 0o600 }),
  };
}

/** Lets calls in flight end for a moment, then closes what is left. */
function stopServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    const force = setTimeout(() => server.forceShutdown(), 500);
    server.tryShutdown(() => {
      clearTimeout(force);
      resolve();
    });
  });
}
