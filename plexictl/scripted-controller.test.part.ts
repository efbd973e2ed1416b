/**
 * Controllers that play a script, for the tests of plexictl: real gRPC servers with mutual TLS on
 * loopback, whose answers the test states. What was asked of them is kept in `asked`.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type handleUnaryCall, Server, type ServerWritableStream, type ServiceError } from '@grpc/grpc-js';
import { createAuthority, issueCertificate } from '../config/certificate-authority.js';
import { PlexiError } from '../config/errors.js';
import { toServiceError } from '../config/grpc-status.js';
import { grpcServerCredentials, type Identity, type TlsFiles } from '../config/tls.js';
import { type AuditServiceListResponse, AuditServiceService } from '../gen/plexi/v1/audit.js';
import {
  ClusterServiceGetResponse,
  ClusterServiceService,
  type ReEpochResponse,
} from '../gen/plexi/v1/cluster.js';
import {
  type LogsRequest,
  type LogsResponse,
  type Node,
  NodesServiceService,
} from '../gen/plexi/v1/nodes.js';
import {
  type ClusterStatus,
  type Plan,
  type Rollout,
  RolloutsServiceService,
  type StartResponse,
  type WatchRequest,
  type WatchResponse,
} from '../gen/plexi/v1/rollouts.js';
import { inForm, type OutputFormat, outputFormats, type ProcessContext } from './context.js';
import { runProgram } from './program.js';

/** What a scripted controller answers; a word that is left out answers NOT_FOUND. */
export interface Script {
  readonly plan?: () => Plan;
  readonly start?: () => StartResponse;
  readonly status?: () => ClusterStatus;
  readonly history?: () => Rollout[];
  readonly nodes?: () => Node[];
  readonly audit?: () => AuditServiceListResponse;
  /** Any other wish: returns the rollout's id; a promise that stays open is a wish that takes long. */
  readonly wish?: () => string | Promise<string>;
  /** What is told of the cluster as a whole. */
  readonly cluster?: () => Parameters<typeof ClusterServiceGetResponse.fromPartial>[0];
  readonly reEpoch?: () => ReEpochResponse;
  /** What `Watch` streams; the stream ends with it. */
  readonly watch?: (id: string) => AsyncIterable<ClusterStatus>;
  /** What `Logs` streams; the stream ends with it. */
  readonly logs?: () => AsyncIterable<Buffer>;
}

/** One controller that listens. */
export interface ScriptedController {
  readonly address: string;
  /** Each call: its word and its request. */
  readonly asked: { word: string; request: unknown }[];
  /** Breaks all connections at once, as a killed process does. */
  kill(): void;
}

/** A folder with an authority and certificates, and the controllers that use them. */
export interface ScriptedCluster {
  readonly folder: string;
  readonly files: TlsFiles;
  /** Starts one controller; with `files` it shows another certificate than a controller's. */
  controller(script: Script, files?: TlsFiles): Promise<ScriptedController>;
  /** Writes a client file and returns its path. */
  clientFile(addresses: readonly string[], files?: TlsFiles): Promise<string>;
  /** Issues a certificate of this cluster's authority. */
  certificate(role: Identity['role'], name: string): Promise<TlsFiles>;
  /** Stops everything and removes the folder. */
  stop(): Promise<void>;
}

/** Makes a cluster named `dev` without controllers. */
export async function scriptedCluster(): Promise<ScriptedCluster> {
  const folder = await mkdtemp(join(tmpdir(), 'plexictl-test-'));
  await createAuthority(folder, { cluster: 'dev' });
  const servers: Server[] = [];
  let files = 0;
  const certificate = async (role: Identity['role'], name: string): Promise<TlsFiles> => {
    const paths = {
      ca: join(folder, 'ca.pem'),
      cert: join(folder, `${name}.pem`),
      key: join(folder, `${name}.key`),
    };
    const out = { cert: paths.cert, key: paths.key };
    await issueCertificate(folder, {
      identity: { cluster: 'dev', role, name },
      hosts: ['127.0.0.1'],
      days: 1,
      out,
    });
    return paths;
  };
  const operator = await certificate('operator', 'ops');
  const controllerFiles = await certificate('controller', 'controller-0');
  return {
    folder,
    files: operator,
    certificate,
    controller: async (script, shown = controllerFiles) => {
      const started = await startController(script, shown);
      servers.push(started.server);
      return started.controller;
    },
    clientFile: async (addresses, tls = operator) => {
      const path = join(folder, `client-${++files}.yml`);
      await writeFile(path, JSON.stringify({ controllers: addresses, tls }));
      return path;
    },
    stop: async () => {
      for (const server of servers) server.forceShutdown();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function startController(script: Script, files: TlsFiles) {
  const asked: ScriptedController['asked'] = [];
  const server = new Server();
  const unary =
    <Request, Response>(
      word: string,
      answer: () => Response | Promise<Response>,
    ): handleUnaryCall<Request, Response> =>
    async (call, callback) => {
      asked.push({ word, request: call.request });
      try {
        callback(null, await answer());
      } catch (thrown) {
        callback(toServiceError(thrown));
      }
    };
  const wished = async () => ({ id: await scripted(script.wish)() });
  const wish = (word: string) => unary(word, wished);
  server.addService(RolloutsServiceService, {
    plan: unary('plan', () => ({ plan: scripted(script.plan)() })),
    start: unary('start', () => scripted(script.start)()),
    get: unary('get', () => ({ status: scripted(script.status)() })),
    list: unary('list', () => ({ rollouts: scripted(script.history)() })),
    pause: wish('pause'),
    resume: wish('resume'),
    abort: wish('abort'),
    retry: wish('retry'),
    skip: wish('skip'),
    rollback: wish('rollback'),
    watch: async (call: ServerWritableStream<WatchRequest, WatchResponse>) => {
      asked.push({ word: 'watch', request: call.request });
      try {
        for await (const status of scripted(script.watch)(call.request.id)) call.write({ status });
        call.end();
      } catch (thrown) {
        call.emit('error', serviceError(thrown));
      }
    },
  });
  server.addService(NodesServiceService, {
    list: unary('nodes', () => ({ nodes: scripted(script.nodes)() })),
    register: unary('register', () => ({ result: 'unchanged' })),
    add: wish('add'),
    remove: wish('remove'),
    setMaintenance: wish('setMaintenance'),
    setHold: wish('setHold'),
    takeOver: unary('takeOver', async () => ({ digest: 'e'.repeat(64), ...(await wished()) })),
    logs: async (call: ServerWritableStream<LogsRequest, LogsResponse>) => {
      asked.push({ word: 'logs', request: call.request });
      try {
        for await (const data of scripted(script.logs)()) call.write({ data });
        call.end();
      } catch (thrown) {
        call.emit('error', serviceError(thrown));
      }
    },
  });
  server.addService(ClusterServiceService, {
    get: unary('cluster', () =>
      ClusterServiceGetResponse.fromPartial({ cluster: 'dev', ...script.cluster?.() }),
    ),
    setFreeze: wish('setFreeze'),
    reEpoch: unary('reEpoch', () => scripted(script.reEpoch)()),
  });
  server.addService(AuditServiceService, { list: unary('audit', () => scripted(script.audit)()) });
  const port = await listen(server, files);
  const controller: ScriptedController = {
    address: `127.0.0.1:${port}`,
    asked,
    kill: () => server.forceShutdown(),
  };
  return { server, controller };
}

function serviceError(thrown: unknown): Error {
  return Object.assign(new Error('scripted'), toServiceError(thrown) satisfies Partial<ServiceError>);
}

function scripted<Arguments extends unknown[], Answer>(
  part: ((...given: Arguments) => Answer) | undefined,
): (...given: Arguments) => Answer {
  if (part !== undefined) return part;
  throw new PlexiError('NOT_FOUND', 'the script has no such word');
}

function listen(server: Server, files: TlsFiles): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', grpcServerCredentials(files), (error, port) => {
      if (error === null) resolve(port);
      else reject(error);
    });
  });
}

/** An address on which nothing listens. */
export async function deadAddress(): Promise<string> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('no port');
  return `127.0.0.1:${address.port}`;
}

/** What a command did. */
export interface Ran {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** How the world of a command differs from a pipe on every side. */
export interface World {
  readonly config?: string;
  /** The answer that somebody types; given, stdin is a terminal. */
  readonly answer?: string;
  readonly stdoutIsTerminal?: boolean;
  /** More variables of the environment. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Ctrl-C. */
  readonly interrupt?: AbortSignal;
}

/** Runs plexictl within this process. */
export async function plexictl(words: readonly string[], world: World = {}): Promise<Ran> {
  const out: string[] = [];
  const err: string[] = [];
  let format: OutputFormat = 'text';
  let code = 0;
  const context: ProcessContext = {
    stdout: (text) => void out.push(typeof text === 'string' ? text : Buffer.from(text).toString()),
    stderr: (text) => void err.push(text),
    output: () => format,
    setOutput: (next) => {
      format = outputFormats.find((known) => known === next) ?? 'text';
    },
    show: (document, asText) => void out.push(inForm(format, document, asText)),
    exitWith: (next) => {
      code = next;
    },
    exitCode: () => code,
    environment: {
      HOME: '/nonexistent',
      ...(world.config !== undefined && { PLEXI_CONFIG: world.config }),
      ...world.environment,
    },
    stdinIsTerminal: world.answer !== undefined,
    stdoutIsTerminal: world.stdoutIsTerminal === true,
    stderrIsTerminal: false,
    stderrTerminal: undefined,
    ask: async (question) => {
      err.push(question);
      return world.answer;
    },
    interruptible: () => ({ signal: world.interrupt ?? new AbortController().signal, release: () => {} }),
  };
  const exitCode = await runProgram(words, context);
  return { exitCode, stdout: out.join(''), stderr: err.join('') };
}

/** The one document on stdout. */
export function documentOf(ran: Ran): unknown {
  return JSON.parse(ran.stdout);
}

/** The error document on the last line of stderr. */
export function errorOf(ran: Ran): { code: string; message: string; details: Record<string, unknown> } {
  const last = ran.stderr.trimEnd().split('\n').at(-1) ?? '';
  return JSON.parse(last).error;
}
