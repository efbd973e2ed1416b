/**
 * What every part of the agent works on: the node's folders, its service, its clocks, its log.
 * Assembled once in main.ts; nothing here is global, so that many agents can share a process.
 */
import { readlinkSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { Logger } from 'pino';
import { PlexiError } from '../config/errors.js';
import type { NodeAgentConfig } from '../config/schema/node-agent.js';
import type { ReleaseManifest } from '../release/manifest.js';
import type { ReleaseRepository } from '../release/repository/fetch.js';
import { installedRelease } from '../release/repository/stage.js';
import { NONE } from '../release/version.js';
import type { OpenedBackupKeys } from './backup/keys.js';
import type { Maintenance } from './service/maintenance.js';
import type { HealthMonitor } from './service/monitor.js';
import { commandMark } from './service/orphans.js';
import type { ServiceAdapter, ServiceSpec } from './service/service.js';

/** The folders and links of a node (design, section 6). All absolute. */
export interface NodePaths {
  readonly root: string;
  readonly releases: string;
  readonly current: string;
  readonly previous: string;
  readonly trial: string;
  readonly data: string;
  readonly config: string;
  readonly run: string;
  readonly agent: string;
  readonly journal: string;
  readonly identity: string;
  readonly quarantine: string;
}

export interface AgentClock {
  /** Monotonic, in milliseconds. For every duration and deadline. */
  nowMs(): number;
  /** The wall clock. For what people read only. */
  wall(): Date;
}

export interface AgentNode {
  readonly config: NodeAgentConfig;
  readonly paths: NodePaths;
  readonly service: ServiceAdapter;
  readonly monitor: HealthMonitor;
  readonly maintenance: Maintenance;
  readonly repository: ReleaseRepository;
  readonly backupKeys: OpenedBackupKeys;
  readonly clock: AgentClock;
  /** To the program's log, and to the node's own file. */
  readonly log: Logger;
  /** Writes out what is left of the node's own log, and ends it. */
  closeLog(): Promise<void>;
  /** The folder of what hooks, migrations and tests have printed. */
  readonly hookLogs: string;
}

/** A release as it lies on this node. */
export interface LocalRelease {
  /** The name of its folder under releases/. */
  readonly folder: string;
  readonly manifest: ReleaseManifest;
  readonly version: string;
  /** SHA-256 (hex) over the file list. */
  readonly digest: string;
}

export function nodePaths(root: string): NodePaths {
  const agent = join(root, 'agent');
  return {
    root,
    releases: join(root, 'releases'),
    current: join(root, 'current'),
    previous: join(root, 'previous'),
    trial: join(root, 'trial'),
    data: join(root, 'data'),
    config: join(root, 'config'),
    run: join(root, 'run'),
    agent,
    journal: join(agent, 'journal'),
    identity: join(agent, 'identity'),
    quarantine: join(agent, 'quarantine'),
  };
}

/** The folder under releases/ that a link points at; undefined when there is no link. */
export async function linkedFolder(link: string): Promise<string | undefined> {
  try {
    // Asked twice a second and more: through the thread pool it costs more than the answer.
    return basename(readlinkSync(link));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** The release behind a folder name; undefined when it is not there, or not complete. */
export async function localRelease(
  paths: NodePaths,
  folder: string | null | undefined,
): Promise<LocalRelease | undefined> {
  if (folder === undefined || folder === null) return undefined;
  const installed = await installedRelease(paths.releases, folder);
  if (installed === undefined) return undefined;
  const { manifest, treeDigest } = installed;
  return { folder, manifest, version: manifest.version, digest: treeDigest };
}

/** What is known of the release behind `current`. */
export interface CurrentRelease {
  readonly folder: string | undefined;
  /** Undefined when nothing is installed, and when it cannot be trusted. */
  readonly release: LocalRelease | undefined;
  /** Why it cannot be trusted: its mark or its manifest is damaged. */
  readonly damage: PlexiError | undefined;
}

/** Reads what `current` leads to; damage is part of the answer. */
export async function readCurrent(paths: NodePaths): Promise<CurrentRelease> {
  const folder = await linkedFolder(paths.current);
  try {
    return { folder, release: await localRelease(paths, folder), damage: undefined };
  } catch (thrown) {
    if (!(thrown instanceof PlexiError && thrown.code === 'RELEASE_INVALID')) throw thrown;
    return { folder, release: undefined, damage: thrown };
  }
}

/** Version and digest of what the node runs: `none` without a release, empty when it cannot be told. */
export function namesOf({ release, damage }: CurrentRelease): { version: string; digest: string } {
  if (damage !== undefined) return { version: '', digest: '' };
  return release === undefined
    ? { version: NONE, digest: '' }
    : { version: release.version, digest: release.digest };
}

/** What the node runs, by its `current` link, as `namesOf` says it. */
export async function currentRelease(paths: NodePaths): Promise<{ version: string; digest: string }> {
  return namesOf(await readCurrent(paths));
}

/** The whole environment of a hook or a migration: nothing is inherited but PATH, HOME and LANG. */
export function programEnvironment(
  node: Pick<AgentNode, 'config' | 'paths'>,
  release: LocalRelease | undefined,
): Record<string, string> {
  const ofServices = node.config.services.map((service) => service.env);
  return environmentWith(node, release, Object.assign({}, ...ofServices));
}

/** The environment of every service of a node; its adapter adds what only that service gets. */
export function serviceEnvironment(
  node: Pick<AgentNode, 'config' | 'paths'>,
  release: LocalRelease | undefined,
): Record<string, string> {
  return environmentWith(node, release, {});
}

function environmentWith(
  { paths, config }: Pick<AgentNode, 'config' | 'paths'>,
  release: LocalRelease | undefined,
  configured: Record<string, string>,
): Record<string, string> {
  return {
    PATH: process.env.PATH ?? '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    HOME: process.env.HOME ?? '/',
    LANG: process.env.LANG ?? 'C.UTF-8',
    ...release?.manifest.service.env,
    ...configured,
    PLEXI_NODE: config.node,
    PLEXI_ROOT: paths.root,
    PLEXI_VERSION: release?.version ?? NONE,
    PLEXI_RELEASE_DIR: release === undefined ? '' : join(paths.releases, release.folder),
    PLEXI_DATA_DIR: paths.data,
    PLEXI_CONFIG_DIR: paths.config,
    PLEXI_RUN_DIR: paths.run,
  };
}

/** The environment of a hook or a migration: a program's, and the mark by which an orphan is found. */
export function commandEnvironment(
  node: Pick<AgentNode, 'config' | 'paths'>,
  release: LocalRelease | undefined,
): Record<string, string> {
  return { ...programEnvironment(node, release), ...commandMark(node.paths.root) };
}

/** How to run a release's service on this node. */
export function serviceSpec(node: Pick<AgentNode, 'config' | 'paths'>, release: LocalRelease): ServiceSpec {
  return {
    argv: release.manifest.service.start,
    cwd: join(node.paths.releases, release.folder),
    env: serviceEnvironment(node, release),
    stopSignal: release.manifest.service.stopSignal,
  };
}
