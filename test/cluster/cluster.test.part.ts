/**
 * A cluster for tests in one process: a real etcd, scripted agents, a release repository on disk with
 * manifests only, and replicas that run here or as processes of their own. Configurations are written
 * and loaded as an operator's are.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Client, Metadata, type MethodDefinition } from '@grpc/grpc-js';
import pino from 'pino';
import { createAuthority, issueCertificate } from '../../config/certificate-authority.js';
import { fromServiceError } from '../../config/grpc-status.js';
import { type ControllerConfig, loadControllerConfig } from '../../config/load.js';
import { grpcChannel, type Role, type TlsFiles } from '../../config/tls.js';
import { runReplica } from '../../controller/replica.js';
import { clusterKeys } from '../../controller/state/keys.js';
import type { Release } from '../../gen/plexi/v1/node_agent.js';
import { LogsRequest, NodesServiceService } from '../../gen/plexi/v1/nodes.js';
import {
  ClusterStatus,
  Plan,
  type Rollout,
  RolloutRequest,
  RolloutsServiceService,
} from '../../gen/plexi/v1/rollouts.js';
import { freePorts } from '../../plexictl/dev/ports.js';
import { printManifest, type ReleaseManifest } from '../../release/manifest.js';
import { openRepository } from '../../release/repository/fetch.js';
import { printIndex } from '../../release/repository/layout.js';
import { sampleManifest, sha256 } from '../../release/sample-release.test.part.js';
import { programWords } from '../loader.test.part.js';
import { here, type Place, type RealEtcd } from './real-etcd.test.part.js';
import { ScriptedAgent } from './scripted-agent.test.part.js';

const controllerProgram = programWords(new URL('../../controller/main.ts', import.meta.url));

/** What runs a version of the repository's. */
export function releaseOf(version: string): Release {
  return { version, digest: sampleManifest(version).artifacts[0]?.treeDigest ?? '' };
}

/** An etcd of one member or of several. */
export type EtcdOfTests = Pick<RealEtcd, 'folder' | 'connection' | 'client'>;

/** Milliseconds that one call to a replica may take; a wish is waited for up to 20 s of them. */
const callMs = 30_000;

/** A replica in this process. */
export interface LocalReplica {
  readonly address: string;
  /** Stops it as SIGTERM does. */
  stop(): Promise<void>;
}

/** A replica in a process of its own. */
export interface ReplicaProcess {
  readonly address: string;
  readonly process: ChildProcess;
  /** What it has logged so far. */
  log(): string;
  kill(signal: NodeJS.Signals): Promise<void>;
}

export class TestCluster {
  readonly keys;
  readonly agents = new Map<string, ScriptedAgent>();
  private readonly certificates = new Map<string, Promise<TlsFiles>>();
  private readonly endings: (() => Promise<void> | void)[] = [];
  private readonly clients: Client[] = [];

  private constructor(
    readonly name: string,
    readonly etcd: EtcdOfTests,
    private readonly folder: string,
    /** Where the agents listen. */
    private readonly home: Place,
    private readonly hosts: readonly string[],
  ) {
    this.keys = clusterKeys(name);
  }

  /** A cluster without replicas and nodes. Several may share one etcd under different names. */
  static async create(
    name: string,
    etcd: EtcdOfTests,
    home: Place = here,
    places: readonly Place[] = [],
  ): Promise<TestCluster> {
    const folder = join(etcd.folder, name);
    await mkdir(folder);
    await createAuthority(join(folder, 'pki'), { cluster: name });
    const cluster = new TestCluster(name, etcd, folder, home, [
      home.address,
      ...places.map(({ address }) => address),
    ]);
    await cluster.writeRepository(['0a1', '0b1', '0r1'].map((version) => sampleManifest(version)));
    return cluster;
  }

  get repository(): string {
    return join(this.folder, 'releases');
  }

  /** Stops what this cluster started; its etcd goes on. */
  async stop(): Promise<void> {
    for (const client of this.clients) client.close();
    await Promise.all(this.endings.map((end) => end()));
    for (const agent of this.agents.values()) agent.stop();
  }

  certificate(role: Role, name: string): Promise<TlsFiles> {
    const key = `${role}-${name}`;
    const issued = this.certificates.get(key) ?? this.issue(role, name, key);
    this.certificates.set(key, issued);
    return issued;
  }

  async agent(node: string, version = '0a1'): Promise<ScriptedAgent> {
    const tls = await this.certificate('agent', node);
    const { address: host } = this.home;
    const agent = await ScriptedAgent.start({
      cluster: this.name,
      node,
      tls,
      release: releaseOf(version),
      host,
    });
    this.agents.set(node, agent);
    return agent;
  }

  /** A replica's configuration, as an operator writes it. */
  async config(id: string, changes: Record<string, unknown> = {}): Promise<ControllerConfig> {
    return loadControllerConfig(await this.configFile(id, changes));
  }

  async replica(id: string, changes: Record<string, unknown> = {}): Promise<LocalReplica> {
    const config = await this.config(id, changes);
    const stopping = new AbortController();
    const running = runReplica({
      config,
      repository: openRepository(config.repository),
      monotonicMs: () => performance.now(),
      nowMs: () => Math.round(performance.timeOrigin + performance.now()),
      wall: () => new Date(),
      nonce: randomUUID,
      signal: stopping.signal,
      log: pino({ level: process.env.PLEXI_TEST_LOG ?? 'silent', base: { controller: id } }),
    });
    const stop = async (): Promise<void> => {
      stopping.abort();
      await running;
    };
    this.endings.push(stop);
    return { address: config.address, stop };
  }

  async replicaProcess(
    id: string,
    changes: Record<string, unknown> = {},
    place: Place = here,
  ): Promise<ReplicaProcess> {
    const file = await this.configFile(id, changes, place.address);
    const { address } = loadControllerConfig(file);
    const node = [process.execPath, ...controllerProgram, '--config', file];
    const [program = process.execPath, ...words] = [...place.prefix, ...node];
    const child = spawn(program, words, {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let text = '';
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    const exit = once(child, 'exit');
    const kill = async (signal: NodeJS.Signals): Promise<void> => {
      child.kill(signal);
      await exit;
    };
    this.endings.push(() => kill('SIGKILL'));
    return { address, process: child, log: () => text, kill };
  }

  /** Calls to one replica, once it listens, with somebody's certificate. */
  async calls(address: string, role: Role = 'operator', name = 'op'): Promise<Calls> {
    const tls = await this.certificate(role, name);
    const { credentials, options } = grpcChannel(tls, { cluster: this.name, role: 'controller' });
    const client = new Client(address, credentials, options);
    this.clients.push(client);
    await new Promise<void>((resolve, reject) => {
      client.waitForReady(Date.now() + 20_000, (error) => (error === undefined ? resolve() : reject(error)));
    });
    return new Calls(client);
  }

  private async configFile(
    id: string,
    changes: Record<string, unknown>,
    host = here.address,
  ): Promise<string> {
    const [port = 0] = await freePorts(1);
    const { endpoints, tls } = this.etcd.connection();
    const file = join(this.folder, `${id}.yml`);
    await writeFile(join(this.folder, 'update.yml'), JSON.stringify({ update_system: {} }));
    const document = {
      cluster: this.name,
      id,
      listen: `${host}:${port}`,
      tls: await this.certificate('controller', id),
      etcd: { endpoints, tls },
      repository: this.repository,
      update_file: 'update.yml',
      leadership: { ttl_seconds: 2, margin_ms: 700 },
      rollout: { soak_ms: 100, timeouts: { apply_ms: 5_000, probe_ms: 5_000 } },
      ...changes,
    };
    // JSON is YAML.
    await writeFile(file, JSON.stringify(document));
    return file;
  }

  private async issue(role: Role, name: string, file: string): Promise<TlsFiles> {
    const pki = join(this.folder, 'pki');
    const out = { cert: join(pki, `${file}.pem`), key: join(pki, `${file}.key`) };
    const identity = { cluster: this.name, role, name };
    await issueCertificate(pki, { identity, hosts: this.hosts, days: 1, out });
    return { ca: join(pki, 'ca.pem'), ...out };
  }

  /** The repository holds these releases, and no other. */
  async writeRepository(manifests: readonly ReleaseManifest[]): Promise<void> {
    const index = [];
    for (const manifest of manifests) {
      const { version, createdAt } = manifest;
      const bytes = printManifest(manifest);
      await mkdir(join(this.repository, version), { recursive: true });
      await writeFile(join(this.repository, version, 'manifest.json'), bytes);
      index.push({ version, manifestSha256: sha256(bytes), createdAt });
    }
    await writeFile(join(this.repository, 'index.json'), printIndex(index));
  }
}

/** The PlexiError that the replica sent, or else what gRPC says. */
function asOurs(thrown: unknown): unknown {
  return fromServiceError(thrown) ?? thrown;
}

/** Calls to one replica; what it refuses arrives as the PlexiError it sent. */
export class Calls {
  constructor(private readonly client: Client) {}

  /** A unary call, which ends within the time that it has. */
  ask<Request, Response>(
    { path, requestSerialize, responseDeserialize }: MethodDefinition<Request, Response>,
    request: Request,
    timeoutMs = callMs,
  ): Promise<Response> {
    return new Promise((resolve, reject) => {
      this.client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        request,
        new Metadata(),
        { deadline: Date.now() + timeoutMs },
        (error, response) => {
          if (error !== null) reject(fromServiceError(error) ?? error);
          else if (response === undefined) reject(new Error(`${path} answered nothing`));
          else resolve(response);
        },
      );
    });
  }

  plan(request: Partial<RolloutRequest>): Promise<Plan> {
    return this.ask(RolloutsServiceService.plan, { request: RolloutRequest.fromPartial(request) }).then(
      ({ plan }) => Plan.fromPartial({ ...plan }),
    );
  }

  start(
    request: Partial<RolloutRequest>,
    requestId: string = randomUUID(),
    planDigest = '',
  ): Promise<string> {
    const whole = { request: RolloutRequest.fromPartial(request), requestId, planDigest };
    return this.ask(RolloutsServiceService.start, whole).then(({ id }) => id);
  }

  status(id = '', timeoutMs = callMs): Promise<ClusterStatus> {
    return this.ask(RolloutsServiceService.get, { id }, timeoutMs).then(({ status }) =>
      ClusterStatus.fromPartial({ ...status }),
    );
  }

  /** Every status of a rollout until the stream ends. */
  async *watch(id: string): AsyncGenerator<ClusterStatus> {
    const { path, requestSerialize, responseDeserialize } = RolloutsServiceService.watch;
    const stream = this.client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, { id });
    try {
      for await (const { status } of stream) yield ClusterStatus.fromPartial({ ...status });
    } finally {
      stream.cancel();
    }
  }

  /** The pieces of a node's log until the stream ends, or `stop` says that they are enough. */
  async logs(request: Partial<LogsRequest>, stop: (text: string) => boolean = () => false): Promise<string> {
    const { path, requestSerialize, responseDeserialize } = NodesServiceService.logs;
    const whole = LogsRequest.fromPartial(request);
    const stream = this.client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, whole);
    let text = '';
    try {
      for await (const { data } of stream) {
        text += Buffer.from(data).toString('utf8');
        if (stop(text)) return text;
      }
      return text;
    } catch (thrown) {
      throw asOurs(thrown);
    } finally {
      stream.on('error', () => undefined);
      stream.cancel();
    }
  }

  /** Follows a rollout to its end; returns how it ended. */
  async follow(id: string): Promise<Rollout> {
    let last: Rollout | undefined;
    for await (const { rollout } of this.watch(id)) last = rollout;
    if (last === undefined) throw new Error(`nothing was told of ${id}`);
    return last;
  }
}
