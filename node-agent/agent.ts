/**
 * One node agent, from its configuration to a listening server. The order matters: identity and
 * fence, journal, the open job, and only then the service (protocol, rule 10). It listens before it takes up a
 * job: an agent that cannot has touched nothing, and gives the door to the next one with nothing at work behind it.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Server } from '@grpc/grpc-js';
import type { Logger } from 'pino';
import { asPlexiError, type ErrorCode, PlexiError } from '../config/errors.js';
import type { NodeAgentConfig } from '../config/schema/node-agent.js';
import { grpcServerCredentials } from '../config/tls.js';
import { openRepository } from '../release/repository/fetch.js';
import { sweepStaging } from '../release/repository/place.js';
import { CommandService } from './api/command-service.js';
import type { Fence } from './api/fence.js';
import { NodeStatusSource } from './api/node-status.js';
import { createAgentServer, listen } from './api/server.js';
import { openBackupKeys } from './backup/keys.js';
import { type Door, doorOf, openDoor } from './by-hand/door.js';
import { localAnswers } from './by-hand/local-answers.js';
import { finishReplacing } from './by-hand/set-aside.js';
import { stillUnreadable, unreadableBesideJournal } from './by-hand/unreadable.js';
import { ensureFolder, sweepTemporary } from './disk/durable-file.js';
import { setAside } from './disk/quarantine.js';
import type { InstallIdentity } from './install-identity.js';
import { Journal, type JournalDisk } from './journal/journal.js';
import { openNodeLog } from './logs/update-log.js';
import { type AgentClock, type AgentNode, nodePaths } from './node.js';
import { openIdentity } from './open-identity.js';
import { Orphaned } from './orphaned.js';
import { keepRegistered } from './register.js';
import { openServices } from './service/adapters.js';
import { type KeeperTurn, keepRunning } from './service/keeper.js';
import { Maintenance } from './service/maintenance.js';
import { HealthMonitor } from './service/monitor.js';
import { probeSubject, serviceContext } from './service/node-facts.js';
import { endOrphans } from './service/orphans.js';
import { journalDisk, maintenanceFile } from './state-disk.js';
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

/** Why a node asks for an operator. */
interface Trouble {
  readonly code: ErrorCode;
  readonly message: string;
}

/** Starts an agent. @throws PlexiError when its root, its certificate or its address cannot be used */
export async function startAgent(
  config: NodeAgentConfig,
  environment: AgentEnvironment,
): Promise<RunningAgent> {
  const { root, run } = nodePaths(config.root);
  await mkdir(root, { recursive: true });
  await ensureFolder(run, 0o755);
  // Before anything is counted, written or taken up: whoever has the door has the node.
  const answers = localAnswers(config.node);
  const door = await openDoor(doorOf(run), answers.answer);
  try {
    return await startBehindDoor(await openNode(config, environment), environment, answers, door);
  } catch (thrown) {
    await door.close();
    throw thrown;
  }
}

async function startBehindDoor(
  node: AgentNode,
  environment: AgentEnvironment,
  answers: ReturnType<typeof localAnswers>,
  door: Door,
): Promise<RunningAgent> {
  const { config } = node;
  const damaged = await unreadableBesideJournal(config, node.paths);
  const { fence, install } = await openIdentity(node, environment.newId);
  const { journal, unreadable } = await openJournal(node);
  for (const { token, commandId } of journal.list()) fence.recall(token, commandId);
  const executor = new Executor(node, journal);
  const holds = (): Trouble | undefined =>
    unreadable ??
    fenceTrouble(fence) ??
    stillUnreadable(damaged, node.maintenance) ??
    executor.broken ??
    failedJobTrouble(journal.list(), node);
  // A lost key says nothing about the service, nor about what a word without a backup does.
  const needsOperator = (): Trouble | undefined => holds() ?? node.backupKeys.damage;
  const status = new NodeStatusSource(node, executor, install?.installId ?? '', needsOperator);
  const commands = new CommandService(node, fence, journal, executor, status, unreadable);

  const orphaned = new Orphaned(node, journal, executor, commands);
  const server = createAgentServer({ node, commands, status, fence, heard: orphaned.heard });
  const port = await listen(server, config.listen, grpcServerCredentials(config.tls));
  node.log.info({ port, starts: install?.starts }, 'the node agent listens');
  const recovery = unreadable === undefined ? await recover(executor, commands, server) : undefined;
  answers.open({ node, journal, fence, executor, unreadable, holds, needsOperator, commands });

  const stopping = new AbortController();
  const background = [
    serveWhenRecovered(
      node,
      recovery?.ended,
      {
        isIdle: () => executor.runningCommandId === undefined && holds() === undefined,
        whileIdle: (work) => executor.whileIdle(work),
      },
      stopping.signal,
    ),
    orphaned.watch(stopping.signal),
    keepKnown(config, environment, install, node, stopping.signal),
  ];
  return {
    port,
    async stop() {
      stopping.abort();
      await stopServer(server);
      await Promise.all(background);
      await executor.rest();
      // Last, because it is the background that starts it.
      await node.monitor.stop();
      await node.closeLog();
      await door.close();
    },
  };
}

/** Takes up the open job: commands that arrive meanwhile wait, and find it at work. Without it nobody is served. */
async function recover(
  executor: Executor,
  commands: CommandService,
  server: Server,
): ReturnType<Executor['recover']> {
  try {
    return await commands.exclusively(() => executor.recover());
  } catch (thrown) {
    await stopServer(server);
    throw thrown;
  }
}

/** A node that does not know who it is tells nobody: it would be taken for another installation. */
async function keepKnown(
  config: NodeAgentConfig,
  environment: AgentEnvironment,
  install: InstallIdentity | undefined,
  { log }: AgentNode,
  signal: AbortSignal,
): Promise<void> {
  if (install === undefined) return;
  const { installId, starts } = install;
  const counterBase = BigInt(starts) << 32n;
  await keepRegistered({ config, installId, counterBase, jitter: environment.random, log }, signal);
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
  await ensureFolder(paths.agent, 0o700);
  await finishReplacing(paths);
  for (const folder of [paths.journal, paths.identity, paths.quarantine]) await ensureFolder(folder, 0o700);
  for (const folder of [paths.root, paths.agent, paths.journal, paths.identity, paths.run])
    await sweepTemporary(folder);
  const { log, close: closeLog } = openNodeLog(paths.agent, config.node, environment.log);
  // What cannot be removed takes only room: no reason to leave the service alone.
  await sweepStaging(paths.releases).catch((thrown) =>
    log.warn({ err: thrown }, 'half-unpacked releases stay'),
  );
  const backupKeys = await openBackupKeys(paths.identity);
  if (backupKeys.damage !== undefined) log.fatal({ err: backupKeys.damage }, backupKeys.damage.message);
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
    maintenance: await Maintenance.open(maintenanceFile(paths), config.maintenance, (file) =>
      setAside(paths.quarantine, file, environment.clock.wall()),
    ),
    repository: openRepository(config.repository),
    backupKeys,
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
export async function openJournal(
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
    const why = asPlexiError(
      thrown,
      'JOURNAL_UNREADABLE',
      'the journal cannot be listed, and the node holds until an operator says plexi-node-agent restore on it',
    );
    node.log.fatal({ err: thrown }, why.message);
    return { journal: await Journal.open(emptyDisk, wall), unreadable: why };
  }
}

function fenceTrouble(fence: Fence): Trouble | undefined {
  return fence.broken === undefined
    ? undefined
    : {
        code: 'FENCE_UNREADABLE',
        message: `${fence.broken}; the node obeys nobody until an operator says plexi-node-agent restore --as-it-is on it`,
      };
}

export { journalDisk } from './state-disk.js';

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
