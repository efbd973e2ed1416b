/**
 * What a node's service runs from, before anything of it is taken over: its folder, its process, its
 * release. Invariant: the folder is the program's own, never one that holds the agent's state, which
 * would then be copied into a release.
 */
import { realpath, stat } from 'node:fs/promises';
import { relative, resolve, sep } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { PlexiError } from '../../config/errors.js';
import { isOwnEntry } from '../../config/schema/node-agent.js';
import type { TakeOverStep } from '../../gen/plexi/v1/node_agent.js';
import { versionScheme } from '../../release/version.js';
import { type AgentNode, readCurrent } from '../node.js';
import type { NamedFolder } from './command-line.js';
import { type IntendedRelease, type Running, releaseToAdopt, releaseToConfirm } from './intended-release.js';
import { type FolderProcess, isInside, processesOf, processOf, realPathOf } from './running-process.js';

/** Milliseconds that a second process gets to end, and between two looks. */
const patienceMs = 1_500;
const lookMs = 100;

/**
 * What runs on the node, and which release stands for it.
 * @throws PlexiError TAKE_OVER_FAILED, and whatever the repository and the folder's files are refused for
 */
export async function whatRuns(
  node: AgentNode,
  order: TakeOverStep,
  signal: AbortSignal,
): Promise<{ running: Running; intended: IntendedRelease }> {
  const { canonical: version } = versionScheme(node.config.versionScheme).parse(order.version);
  const folder = await namedFolder(node, order);
  const local =
    folder !== undefined && folder.real === (await realPathOf(node.paths.current))
      ? (await readCurrent(node.paths)).release
      : undefined;
  if (order.confirm && folder === undefined)
    throw new PlexiError(
      'TAKE_OVER_FAILED',
      `nothing is installed on ${node.config.node}; name the folder that the service runs from with --dir`,
    );
  const process = await processToFind(node, order, folder);
  const running: Running = { node, version, folder, local, process, signal };
  const isConfirmed = order.confirm && folder !== undefined;
  const intended = await (isConfirmed ? releaseToConfirm(running, folder) : releaseToAdopt(running));
  return { running, intended };
}

/** The folder of the order, or what `current` leads to. @throws PlexiError when it cannot be a release */
async function namedFolder(node: AgentNode, order: TakeOverStep): Promise<NamedFolder | undefined> {
  const given = order.directory === '' ? node.paths.current : resolve(order.directory);
  const real = await realPathOf(given);
  if (real === undefined && order.directory === '') return undefined;
  if (real === undefined || !(await stat(real)).isDirectory())
    throw new PlexiError(
      'TAKE_OVER_FAILED',
      `${given} on ${node.config.node} is no folder; name the right one`,
    );
  const root = await realpath(node.paths.root);
  if (isInside(real, root))
    throw new PlexiError(
      'TAKE_OVER_FAILED',
      `${given} holds the agent's own folder ${root}; name the program's`,
    );
  const below = isInside(root, real) ? relative(root, real).split(sep) : [];
  const isRelease = below[0] === 'releases' && below.length === 2 && below[1]?.startsWith('.') === false;
  if (below[0] !== undefined && isOwnEntry(below[0]) && !isRelease)
    throw new PlexiError('TAKE_OVER_FAILED', `${given} is the agent's own; name the program's folder`);
  return { given, real };
}

/** The process that the agent has to find by itself; undefined where something else tells what runs. */
async function processToFind(
  node: AgentNode,
  order: TakeOverStep,
  folder: NamedFolder | undefined,
): Promise<FolderProcess | undefined> {
  const { services } = node.config;
  const isRunning = await node.service.isRunning();
  const isFindable = services.length === 1 && services[0]?.adapter === 'process';
  // What the agent started, or took over before, is known; but somebody may have started another one.
  if (isRunning && order.confirm && order.directory === '') {
    return isFindable && folder !== undefined ? foundIn(node, folder) : undefined;
  }
  if (!services.some(({ adapter }) => adapter === 'process')) {
    if (isRunning) return undefined;
    throw new PlexiError(
      'TAKE_OVER_FAILED',
      `the service of ${node.config.node} does not run, as its ${services[0]?.adapter} adapter says; start it, and try again`,
    );
  }
  if (services.length > 1)
    throw new PlexiError(
      'TAKE_OVER_FAILED',
      `${node.config.node} has ${services.length} services, and those of the adapter process cannot be told apart by their folder; stop them, and let a rollout or the agent start them`,
    );
  if (folder !== undefined) return onlyOne(node, folder);
  throw new PlexiError(
    'TAKE_OVER_FAILED',
    `a process that runs from anywhere on ${node.config.node} cannot be found; name its folder with --dir`,
  );
}

/** The one that runs from the folder; undefined when the service that is known runs from elsewhere. */
async function foundIn({ config }: AgentNode, folder: NamedFolder): Promise<FolderProcess | undefined> {
  const found = await processesOf(folder.real, config.probes);
  return found.length === 0 ? undefined : onlyOne({ config }, folder);
}

/**
 * The one process that runs from the folder. Several get a moment: a start by the agent that met a
 * service which somebody had started by hand is about to fail.
 */
async function onlyOne(
  { config: { probes } }: Pick<AgentNode, 'config'>,
  folder: NamedFolder,
): Promise<FolderProcess> {
  for (let waitedMs = 0; waitedMs < patienceMs; waitedMs += lookMs) {
    if ((await processesOf(folder.real, probes)).length < 2) break;
    await sleep(lookMs);
  }
  return processOf(folder.real, probes);
}
