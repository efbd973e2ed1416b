/**
 * What a controller that was taken over could send to an agent: any bytes, and any message of the
 * protocol. Every call ends with a status that says what is wrong, the agent goes on answering, and it
 * writes nowhere but in its own root.
 */
import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { basename } from 'node:path';
import { after, before } from 'node:test';
import fc from 'fast-check';
import { NodeAgentServiceService } from '../../gen/plexi/v1/node_agent.js';
import { type RunningAgent, startAgent } from '../../node-agent/agent.js';
import { environment } from '../../node-agent/agent-node.test.part.js';
import { Caller } from '../../node-agent/caller.test.part.js';
import { createTinyCluster, type TinyCluster, TinyNode } from '../../node-agent/tiny-node.test.part.js';
import { Canary } from './canary.test.part.js';
import { lengthDelimited, Messages, varintField } from './messages.test.part.js';
import { type Method, methodsOf, RawCaller } from './raw-call.test.part.js';
import { hostile } from './target.test.part.js';

const cluster: TinyCluster = await createTinyCluster();
const node = await TinyNode.create(cluster);
const digests = Object.values(cluster.releases).map(({ artifact }) => artifact.treeDigest);
const messages = new Messages({
  command_id: ['c1', 'c2', 'c3', 'update_0a1_0b1_20241219_120000.node-1.upgrade.1'],
  upgrade_command_id: ['c1', 'c2', 'update_0a1_0b1_20241219_120000.node-1.upgrade.1'],
  rollout_id: ['update_0a1_0b1_20241219_120000'],
  version: ['0a1', '0b1', '0b2', 'none'],
  digest: [...digests, 'd'.repeat(64)],
  plan_digest: ['d'.repeat(64)],
  manifest_sha256: Object.values(cluster.releases).map((release) => release.manifestSha256),
  artifact_sha256: Object.values(cluster.releases).map(({ artifact }) => artifact.sha256),
  directory: ['backups', '../outside', node.config.root, `${cluster.folder}/source/0a1`, '/nowhere'],
  direction: ['up', 'down'],
  id: ['001-format'],
  source: ['service', 'update', 'hooks'],
  name: ['service', '../../agent/fence.json'],
  os: [process.platform],
  arch: [process.arch],
});
const methods = methodsOf(NodeAgentServiceService);

let agent: RunningAgent;
let raw: RawCaller;
let caller: Caller;
let canary: Canary;
/** Tokens rise from case to case, so that the fence lets through what it should. */
let seq = 2n;

before(async () => {
  agent = await startAgent(node.config, environment);
  const tls = cluster.tls('controller', 'controller-0');
  raw = new RawCaller(`127.0.0.1:${agent.port}`, tls, { cluster: 'test', role: 'agent' });
  caller = new Caller(agent.port, tls);
  await caller.statusWhen(({ health }) => health === 'healthy');
  await caller.adopt([1, 1, 1], 'nonce');
  canary = await Canary.set(cluster.folder, [basename(node.config.root)]);
});
after(async () => {
  raw.close();
  caller.close();
  await agent.stop();
  await node.remove();
  await rm(cluster.folder, { recursive: true, force: true });
});

async function stillFine(): Promise<void> {
  const { nodeId } = await caller.describe();
  assert.equal(nodeId, 'node-1');
  await canary.check();
}

/** A token that the fence lets through. */
function nextToken(): Buffer {
  seq += 1n;
  return Buffer.concat([varintField(1, 1n), varintField(2, 1n), varintField(3, seq)]);
}

/** A command id that no command had before. */
function newId(): Buffer {
  return lengthDelimited(1, Buffer.from(`command-${seq}`));
}

/** Mostly under a new id: the same one with other contents is refused at once. */
const isNewId = fc.nat(9).map((drawn) => drawn > 0);
const adoption = messages
  .bytesOf('.plexi.v1.AdoptRequest', 'token')
  .map((bytes) => ({ isNew: true, path: 'Adopt', bytes }));
const execution = fc
  .tuple(isNewId, messages.bytesOf('.plexi.v1.Command', 'token'))
  .map(([isNew, bytes]) => ({ isNew, path: 'Execute', bytes }));

hostile(import.meta.url, {
  name: 'a command of any content, with a token that holds, ends with a result or a refusal',
  cases: fc.oneof({ weight: 9, arbitrary: execution }, adoption),
  casesMin: 5,
  check: ({ isNew, path, bytes }) => {
    const method = methods.find((candidate) => candidate.path.endsWith(`/${path}`));
    assert.ok(method);
    // The last word on a field is the one that counts.
    const message =
      path === 'Adopt'
        ? Buffer.concat([bytes, lengthDelimited(1, nextToken())])
        : lengthDelimited(
            1,
            Buffer.concat([bytes, lengthDelimited(4, nextToken()), ...(isNew ? [newId()] : [])]),
          );
    return raw.call(method, [message]);
  },
  after: stillFine,
});

const anyMethod = fc.constantFrom(...methods);
const anyMessages = (method: Method): fc.Arbitrary<{ method: Method; sent: Buffer[] }> =>
  fc.record({
    method: fc.constant(method),
    sent: fc.array(messages.requestOf(method.path), {
      minLength: 1,
      maxLength: method.requestStream ? 5 : 1,
    }),
  });

hostile(import.meta.url, {
  name: 'random bytes to every method of the agent end with a status',
  cases: fc.record({ method: anyMethod.map(({ path }) => path), sent: fc.uint8Array({ maxLength: 200 }) }),
  casesMin: 10,
  check: ({ method, sent }) => raw.call(pathed(method), [sent]),
  after: stillFine,
});

hostile(import.meta.url, {
  name: 'any message to every method of the agent ends with an answer or a status',
  cases: anyMethod.chain(anyMessages).map(({ method, sent }) => ({ method: method.path, sent })),
  casesMin: 10,
  check: ({ method, sent }) => raw.call(pathed(method), sent),
  after: stillFine,
});

function pathed(path: string): Method {
  const method = methods.find((candidate) => candidate.path === path);
  assert.ok(method);
  return method;
}
