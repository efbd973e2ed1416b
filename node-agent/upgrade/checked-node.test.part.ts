/**
 * A node with its real agent, for tests of what an upgrade does besides the switch: releases are made
 * to order (tests, migrations, what the service prints), and every order can be changed in part.
 */
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, type TestContext } from 'node:test';
import { status } from '@grpc/grpc-js';
import { fromServiceError } from '../../config/grpc-status.js';
import { grpcChannel } from '../../config/tls.js';
import {
  type Command,
  NodeAgentServiceClient,
  type PreflightStep,
  ReadLogRequest,
  type ReadLogResponse,
  type StageStep,
  type UpgradeStep,
} from '../../gen/plexi/v1/node_agent.js';
import { type BuiltRelease, buildRelease } from '../../release/repository/publish.js';
import { type AgentEnvironment, type RunningAgent, startAgent } from '../agent.js';
import { environment } from '../agent-node.test.part.js';
import { Caller, command } from '../caller.test.part.js';
import { createTinyCluster, type TinyCluster, TinyNode } from '../tiny-node.test.part.js';

/** What a release is to have. */
export interface Wanted {
  /** Lines of `release.yml` beside name and service. */
  readonly yaml?: string;
  readonly files?: Readonly<Record<string, string>>;
  /** What the service prints when it starts. */
  readonly prints?: string;
  readonly isHealthy?: boolean;
}

/** Builds a release of data format 1 into the cluster's repository. */
export async function buildChecked(
  cluster: TinyCluster,
  version: string,
  { yaml = '', files = {}, prints = 'ready', isHealthy = true }: Wanted,
): Promise<BuiltRelease> {
  const from = join(cluster.folder, 'source', version);
  await mkdir(from, { recursive: true });
  const server = await readFile(join(cluster.folder, 'source', '0a1', 'server.mjs'), 'utf8');
  const all: Record<string, string> = {
    'release.json': JSON.stringify({ version, format: 1, healthy: isHealthy }),
    'server.mjs': `console.log(${JSON.stringify(prints)});\n${server}`,
    'release.yml': `name: tiny\nservice:\n  start: [node, server.mjs]\n${yaml}`,
    ...files,
  };
  for (const [name, contents] of Object.entries(all)) await writeFile(join(from, name), contents);
  return buildRelease({ version, from, repository: cluster.repository, allowDirty: true });
}

/**
 * The cluster of a test file: 0a1, which runs on its nodes, and one more release, made to order. Its folder is
 * removed after the last test.
 */
export async function clusterWith(
  version: string,
  wanted: Wanted = {},
): Promise<{ readonly cluster: TinyCluster; readonly old: BuiltRelease; readonly next: BuiltRelease }> {
  const cluster = await createTinyCluster();
  after(() => rm(cluster.folder, { recursive: true, force: true }));
  return { cluster, old: cluster.releases['0a1'], next: await buildChecked(cluster, version, wanted) };
}

/** The node with its agent running, and 0a1 healthy on it unless `version` is none. */
export class CheckedNode {
  agent: RunningAgent | undefined;
  caller: Caller;
  private readonly callers: Caller[] = [];
  private seq = 1n;

  private constructor(
    private readonly cluster: TinyCluster,
    readonly node: TinyNode,
    agent: RunningAgent,
    private readonly surroundings: AgentEnvironment,
  ) {
    this.agent = agent;
    this.caller = this.connect();
  }

  static async start(
    t: TestContext,
    cluster: TinyCluster,
    options: Parameters<typeof TinyNode.create>[1] = {},
    surroundings: AgentEnvironment = environment,
  ): Promise<CheckedNode> {
    const node = await TinyNode.create(cluster, options);
    const checked = new CheckedNode(cluster, node, await startAgent(node.config, surroundings), surroundings);
    t.after(async () => {
      await checked.stop();
      await node.remove();
    });
    if (options.version !== 'none') await checked.healthy();
    return checked;
  }

  healthy(): Promise<unknown> {
    return this.caller.statusWhen(({ health }) => health === 'healthy');
  }

  /** The end of the agent's life; its service runs on. */
  async stop(): Promise<void> {
    for (const caller of this.callers) caller.close();
    await this.agent?.stop();
    this.agent = undefined;
  }

  async restart(): Promise<void> {
    await this.stop();
    this.agent = await startAgent(this.node.config, this.surroundings);
    this.caller = this.connect();
  }

  /** Stages a release, and brings the node from another one to it. */
  async stageAndUpgrade(from: BuiltRelease, to: BuiltRelease, changes: Partial<UpgradeStep> = {}) {
    await this.caller.execute(this.stageOrder(to));
    return this.caller.execute(this.upgradeOrder(from, to, changes));
  }

  stageOrder(to: BuiltRelease, changes: Partial<StageStep> = {}): Command {
    const value = {
      release: releaseOf(to),
      manifestSha256: to.manifestSha256,
      artifactSha256: to.artifact.sha256,
      back: undefined,
      timeoutMs: 20_000n,
      reinstall: false,
      checkMigrations: [],
      ...changes,
    };
    return this.next({ $case: 'stage', value });
  }

  upgradeOrder(from: BuiltRelease, to: BuiltRelease, changes: Partial<UpgradeStep> = {}): Command {
    const value = {
      from: releaseOf(from),
      to: releaseOf(to),
      migrations: [],
      backup: false,
      backupPolicy: { directory: 'backups', encryption: true, keep: 3, retentionDays: 30 },
      maintenanceHooks: true,
      tests: true,
      restartByHand: false,
      timeouts: {
        maintenanceMs: 10_000n,
        stopMs: 5_000n,
        backupMs: 10_000n,
        migrateMs: 10_000n,
        applyMs: 10_000n,
        probeMs: 10_000n,
        testMs: 10_000n,
        rollbackMs: 15_000n,
      },
      probe: { goodInARow: 2, spacingMs: 10n, intervalMaxMs: 50n, tryMs: 2_000n },
      ...changes,
    };
    return this.next({ $case: 'upgrade', value });
  }

  preflightOrder(from: BuiltRelease, to: BuiltRelease, changes: Partial<PreflightStep> = {}): Command {
    const value = {
      from: releaseOf(from),
      to: releaseOf(to),
      unpackedBytes: BigInt(to.artifact.unpackedBytes),
      controllerTime: new Date(),
      backup: true,
      maintenanceHooks: true,
      backupPolicy: { directory: 'backups', encryption: true, keep: 3, retentionDays: 30 },
      os: process.platform,
      arch: process.arch,
      allowUnhealthy: false,
      ...changes,
    };
    return this.next({ $case: 'preflight', value });
  }

  /** Follows a log of this node; each piece goes to `onText` with all that came before it. */
  readLog(
    request: Partial<ReadLogRequest>,
    onText: (text: string, cancel: () => void) => void = () => undefined,
  ): Promise<{ text: string; longestPiece: number }> {
    const { credentials, options } = grpcChannel(this.cluster.tls('controller', 'controller-0'), {
      cluster: 'test',
      role: 'agent',
      name: 'node-1',
    });
    const client = new NodeAgentServiceClient(`127.0.0.1:${this.agent?.port}`, credentials, options);
    const stream = client.readLog(ReadLogRequest.fromPartial(request), { deadline: Date.now() + 20_000 });
    let text = '';
    let longestPiece = 0;
    return new Promise((resolve, reject) => {
      stream.on('data', ({ data }: ReadLogResponse) => {
        text += Buffer.from(data).toString('utf8');
        longestPiece = Math.max(longestPiece, data.length);
        onText(text, () => stream.cancel());
      });
      stream.on('error', (error) => {
        if (!('code' in error) || error.code !== status.CANCELLED) reject(fromServiceError(error) ?? error);
      });
      stream.on('status', ({ code }) => {
        client.close();
        if (code === status.OK || code === status.CANCELLED) resolve({ text, longestPiece });
      });
    });
  }

  /** The next command of one leader, with an id of its own. */
  next(step: Command['step']): Command {
    this.seq += 1n;
    return command(`c-${this.seq}`, [1, 5, Number(this.seq)], step);
  }

  private connect(): Caller {
    const caller = new Caller(this.agent?.port ?? 0, this.cluster.tls('controller', 'controller-0'));
    this.callers.push(caller);
    return caller;
  }
}

export function releaseOf({ manifest, artifact }: BuiltRelease) {
  return { version: manifest.version, digest: artifact.treeDigest };
}

/** The name of a release's folder, as a link shows it. */
export function linkTo({ manifest, artifact }: BuiltRelease): string {
  return `releases/${manifest.version}-${artifact.treeDigest.slice(0, 12)}`;
}
