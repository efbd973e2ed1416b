/**
 * plexictl between words that mean nothing and controllers that answer anything: it ends with an exit
 * code of the contract and a sentence, and no control character of theirs reaches the terminal.
 */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { BinaryWriter } from '@bufbuild/protobuf/wire';
import { Server, type UntypedHandleCall } from '@grpc/grpc-js';
import fc from 'fast-check';
import { grpcServerCredentials } from '../../config/tls.js';
import { ClusterServiceService } from '../../gen/plexi/v1/cluster.js';
import { NodesServiceService } from '../../gen/plexi/v1/nodes.js';
import { RolloutsServiceService } from '../../gen/plexi/v1/rollouts.js';
import {
  plexictl,
  type ScriptedCluster,
  scriptedCluster,
} from '../../plexictl/scripted-controller.test.part.js';
import { Messages } from './messages.test.part.js';
import { oddTexts } from './mutations.test.part.js';
import type { Method } from './raw-call.test.part.js';
import { hostile } from './target.test.part.js';

const services = [RolloutsServiceService, NodesServiceService, ClusterServiceService];
const messages = new Messages({
  id: ['node-1', 'update_0a1_0b1_20241219_120000'],
  phase: ['rolling', 'succeeded', 'failed', 'done', 'idle', 'probing'],
  health: ['healthy', 'unhealthy', 'unknown'],
  version: ['0a1', '0b1', 'none'],
  strategy: ['upgrade', 'none'],
  code: ['PROBE_FAILED', 'CONFLICT'],
});

let cluster: ScriptedCluster;
let server: Server;
let config = '';
let home = '';
/** What the controller answers next, to whatever it is asked. */
let answer: Uint8Array = Buffer.alloc(0);
/** How often the words that run now have asked for a stream, and what is called then. */
let streamsAsked = 0;
let streamAsked = (): void => undefined;

before(async () => {
  home = await mkdtemp(join(tmpdir(), 'plexi-hostile-'));
  cluster = await scriptedCluster();
  server = new Server();
  for (const service of services) {
    const definition = Object.fromEntries(
      Object.entries(service).map(([name, method]) => [name, { ...method, responseSerialize: Buffer.from }]),
    );
    const handlers = Object.entries(service).map(
      ([name, method]) => [name, handlerOf(method as Method)] as const,
    );
    server.addService(definition, Object.fromEntries(handlers));
  }
  const credentials = grpcServerCredentials(await cluster.certificate('controller', 'controller-9'));
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', credentials, (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
  });
  config = await cluster.clientFile([`127.0.0.1:${port}`]);
});
after(async () => {
  server.forceShutdown();
  await cluster.stop();
  await rm(home, { recursive: true, force: true });
});

/** A handler that answers with bytes, once. */
function handlerOf({ responseStream }: Method): UntypedHandleCall {
  if (!responseStream)
    return (_call: unknown, callback: (error: null, bytes: Uint8Array) => void) => callback(null, answer);
  return (call: { write(bytes: Uint8Array): void; end(): void }) => {
    streamsAsked += 1;
    streamAsked();
    call.write(answer);
    call.end();
  };
}

/**
 * Ends well, or with a sentence; returns the exit code. A stream that ends is followed again, and a person ends that.
 * @param streams when the person does: as the stream comes for the so-many-th time
 * @param forMs and when, where nothing but a person ends what plexictl waits for
 */
async function run(words: readonly string[], { streams = 2, forMs = 300 } = {}): Promise<string> {
  const interrupt = new AbortController();
  streamsAsked = 0;
  streamAsked = () => {
    if (streamsAsked === streams) interrupt.abort();
  };
  const timer = setTimeout(() => interrupt.abort(), forMs);
  const ran = await plexictl(words, { config, interrupt: interrupt.signal, environment: { HOME: home } });
  clearTimeout(timer);
  const { exitCode, stdout, stderr } = ran;
  assert.ok([0, 1, 2, 3, 4, 5, 6, 130].includes(exitCode), `${exitCode}: ${stderr}`);
  assert.ok(exitCode === 0 || `${stdout}${stderr}`.trim() !== '', `exit code ${exitCode} without a word`);
  assert.doesNotMatch(`${stdout}${stderr}`, /[^\P{Cc}\n]/u);
  assert.doesNotMatch(`${stdout}${stderr}`, /something unforeseen|\n {4}at .*:\d+:\d+|TypeError|RangeError/);
  return String(exitCode);
}

const forms = fc.constantFrom([], ['--output', 'json'], ['--output', 'yaml']);
/** A word with the answer that it gets. */
const asked: readonly (readonly [words: readonly string[], response: string])[] = [
  [['status'], '.plexi.v1.GetResponse'],
  [['nodes'], '.plexi.v1.NodesServiceListResponse'],
  [['history'], '.plexi.v1.ListResponse'],
  [['why', 'node-1'], '.plexi.v1.GetResponse'],
  [['plan', '--to', '0b1'], '.plexi.v1.PlanResponse'],
  [['version'], '.plexi.v1.ClusterServiceGetResponse'],
  [['watch'], '.plexi.v1.WatchResponse'],
  [['pause'], '.plexi.v1.PauseResponse'],
];

hostile(import.meta.url, {
  name: 'whatever a controller answers, plexictl ends with an exit code and a sentence',
  cases: fc
    .tuple(fc.constantFrom(...asked), forms)
    .chain(([[words, response], form]) =>
      fc.record({ words: fc.constant([...words, ...form]), bytes: messages.bytesOf(response) }),
    ),
  casesMin: 3,
  check: async ({ words, bytes }) => {
    answer = bytes;
    return run(words);
  },
});

test('a time that is none is no reason to end, when the stream comes again', async () => {
  const time = new BinaryWriter()
    .uint32(8)
    .int64(2n ** 60n)
    .finish();
  const rollout = new BinaryWriter().uint32(10).string('update_0a1_0b1').uint32(50).bytes(time).finish();
  const status = new BinaryWriter().uint32(18).bytes(rollout).finish();
  answer = new BinaryWriter().uint32(10).bytes(status).finish();
  assert.equal(await run(['watch'], { streams: 3, forMs: 60_000 }), '130');
  assert.equal(streamsAsked, 3, 'it was followed again');
});

const knownWords = [
  ...[
    'rollout',
    'rollback',
    'status',
    'nodes',
    'node',
    'watch',
    'pause',
    'resume',
    'abort',
    'skip',
    'retry',
    'why',
  ],
  ...[
    'plan',
    'logs',
    'history',
    'freeze',
    'on',
    'off',
    'hold',
    'adopt',
    'confirm',
    'maintenance',
    'remove',
    'add',
  ],
  ...[
    '--to',
    '--yes',
    '--reason',
    '--output',
    'json',
    '--nodes',
    '--limit',
    '--tail',
    '--follow',
    '--context',
    '--help',
  ],
  ...['--to=', '--limit=-1', '--limit=1e9', '--', '-', '0b1', 'node-1', '--timeout', '0s', '99999999999d'],
];

hostile(import.meta.url, {
  name: 'whatever the words are, plexictl ends with an exit code and a sentence',
  cases: fc.array(
    fc.oneof(
      { weight: 5, arbitrary: fc.constantFrom(...knownWords) },
      fc.constantFrom(...oddTexts),
      fc.string(),
    ),
    {
      maxLength: 7,
    },
  ),
  casesMin: 3,
  check: (words) => {
    answer = Buffer.alloc(0);
    return run(words);
  },
});
