/**
 * One term of lead on a real etcd, with agents that play a script, where each transaction of the leader
 * can be met before it is sent and after it was committed. Whoever imports this has an etcd for all its
 * tests, and a cluster for each.
 */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, afterEach, before, beforeEach } from 'node:test';
import pino from 'pino';
import { leadTerm } from '../../controller/execution/leader.js';
import { campaign, type Lead } from '../../controller/leadership/campaign.js';
import { type EtcdClient, type EtcdOperation, readKey, transact } from '../../controller/leadership/etcd.js';
import { leaderRecord } from '../../controller/replica.js';
import { Mirror } from '../../controller/state/mirror.js';
import { decode } from '../../controller/state/records.js';
import { type IntentOutcome, outcomeRecord } from '../../controller/state/wish-records.js';
import { openRepository } from '../../release/repository/fetch.js';
import { releaseOf, TestCluster } from './cluster.test.part.js';
import { TcpProxy } from './proxy.test.part.js';
import { RealEtcd } from './real-etcd.test.part.js';

const log = pino({ level: process.env.PLEXI_TEST_LOG ?? 'silent' });

export let etcd: RealEtcd;
/** Not through the proxy: what the test itself does. */
export let direct: EtcdClient;
export let proxy: TcpProxy;
export let mirrorProxy: TcpProxy;
export let cluster: TestCluster;
export let mirror: Mirror;
let count = 0;
before(async () => {
  etcd = await RealEtcd.start();
  direct = etcd.client();
});
beforeEach(async () => {
  cluster = await TestCluster.create(`loop-${++count}`, etcd);
  proxy = await TcpProxy.start(etcd.port);
  mirrorProxy = await TcpProxy.start(etcd.port);
  mirror = new Mirror(etcd.connection(mirrorProxy.port), cluster.keys.prefix, cluster.keys.audit, log);
  await mirror.start();
});
afterEach(async () => {
  for (const end of endings.splice(0)) await end();
  await mirror.stop();
  await cluster.stop();
  await proxy.stop();
  await mirrorProxy.stop();
});
after(() => etcd.remove());

export const endings: (() => Promise<unknown>)[] = [];

/** What a test does at a transaction of the leader; the keys are those that it writes. */
export interface Meetings {
  before?(keys: readonly string[]): Promise<void>;
  /** Before the leader hears that it was committed. */
  after?(keys: readonly string[]): Promise<void>;
  /** Whether the answer to this one is lost after it was committed. */
  isLost?(keys: readonly string[]): boolean;
}

export interface Term {
  readonly lead: Lead;
  /** Why the lead is over. */
  readonly over: Promise<string>;
  /** Keys of each transaction that was sent. */
  readonly sent: string[][];
  isOver: boolean;
}

/** Leads the cluster, through the proxy, until the test is over. */
export async function lead(
  meetings: Meetings = {},
  client = etcd.client(proxy.port),
  changes: Record<string, unknown> = {},
): Promise<Term> {
  const config = await cluster.config('controller-0', changes);
  const { keys } = cluster;
  const won = await campaign(
    direct,
    keys,
    { id: 'controller-0', address: config.address, ...config.leadership },
    {
      ...{ nowMs: () => performance.now(), wall: () => new Date(), nonce: randomUUID, log },
      entering: (entered) => leaderRecord({ config, wall: () => new Date() }, keys, direct, entered),
    },
    async () => undefined,
    new AbortController().signal,
  );
  assert.ok(won);
  const sent: string[][] = [];
  meet(client, meetings, sent);
  const repository = openRepository(config.repository);
  const clocks = { nowMs: () => Date.now(), wall: () => new Date() };
  const over = leadTerm({ config, keys, client, mirror, repository, lead: won, ...clocks, log });
  const term: Term = { lead: won, over, sent, isOver: false };
  endings.push(() => won.resign('the test is over').catch(() => 'the lease was revoked'));
  void over.then(() => {
    term.isOver = true;
  });
  return term;
}

/** Milliseconds in which a transaction has been tried by etcd, also on a busy machine. */
const lostMaxMs = 3_000;

/** Puts the test between the leader and its transactions. */
function meet(client: EtcdClient, meetings: Meetings, sent: string[][]): void {
  const txn = client.kv.txn.bind(client.kv);
  client.kv.txn = async (request, options) => {
    const keys = (request.success ?? []).map(
      ({ request_put, request_delete_range }) =>
        (request_put?.key ?? request_delete_range?.key)?.toString() ?? '',
    );
    sent.push(keys);
    await meetings.before?.(keys);
    if (meetings.isLost?.(keys) !== true) {
      const answer = await txn(request, options);
      await meetings.after?.(keys);
      return answer;
    }
    const { revision } = await readKey(direct, 'any');
    proxy.set('down', 'lose');
    const answer = txn(request, options);
    answer.catch(() => 'that is what this is about');
    // One whose guards fail commits nothing, and its answer is lost all the same.
    const untilMs = performance.now() + lostMaxMs;
    while ((await readKey(direct, 'any')).revision === revision && performance.now() < untilMs)
      await new Promise(setImmediate);
    proxy.cut();
    proxy.set('down', 'pass');
    return answer;
  };
}

/** Names a node that its agent, or nobody, stands behind. */
export function nodeOperations(node: string, address: string, version = '0a1'): EtcdOperation[] {
  const spec = { address, labels: {} };
  const status = {
    ...releaseOf(version),
    phase: 'idle',
    health: 'healthy',
    unknown: false,
    os: 'linux',
    arch: 'x64',
    since: new Date().toISOString(),
  };
  return [
    { kind: 'put', key: cluster.keys.nodeSpec(node), value: JSON.stringify(spec) },
    { kind: 'put', key: cluster.keys.nodeStatus(node), value: JSON.stringify(status) },
  ];
}

/** Agents for node-1 to node-N, named and seen. */
export async function agents(number: number) {
  const names = Array.from({ length: number }, (_, index) => `node-${index + 1}`);
  const started = await Promise.all(names.map((node) => cluster.agent(node)));
  for (const { node, address } of started) await transact(direct, [], nodeOperations(node, address));
  return started;
}

let wishes = 0;
/** Stores a wish as a replica does; returns where its outcome will stand. */
export async function wish(intent: Record<string, unknown>, rollout?: string): Promise<string> {
  const n = String(++wishes).padStart(4, '0');
  const { keys } = cluster;
  const key = rollout === undefined ? keys.intent(n) : keys.rolloutIntent(rollout, n);
  const value = JSON.stringify({ by: 'op', at: new Date().toISOString(), reason: '', ...intent });
  await transact(direct, [], [{ kind: 'put', key, value }]);
  return keys.outcome(n);
}

const nothingMore = { canary: 0, canarySelector: '', nodes: [], selectors: [], exclude: [], reason: '' };

/** Asks for a rollout, of all nodes unless some are named. */
export function start(
  requestId: string = randomUUID(),
  to = '0b1',
  nodes: readonly string[] = [],
): Promise<string> {
  const request = { to, maxConcurrent: 0, force: false, downgrade: false, ...nothingMore, nodes };
  return wish({ kind: 'start', requestId, planDigest: '', request });
}

export async function outcome(key: string): Promise<IntentOutcome> {
  assert.ok(await mirror.waitFor(() => mirror.get(key) !== undefined, 10_000), `${key} has no outcome`);
  return decode(outcomeRecord, key, mirror.get(key)?.value ?? '');
}

/** The id of a rollout that was started. */
export async function started(key: string): Promise<string> {
  const { rollout, error } = await outcome(key);
  return rollout ?? assert.fail(`it did not start: ${error?.message}`);
}

export function phaseOf(id: string): string {
  const { phase }: { phase: string } = JSON.parse(
    mirror.get(cluster.keys.rolloutState(id))?.value ?? '{"phase":"none"}',
  );
  return phase;
}

export async function reaches(id: string, phase: string): Promise<void> {
  await mirror.waitFor(() => phaseOf(id) === phase, 15_000);
  assert.equal(phaseOf(id), phase, mirror.get(cluster.keys.rolloutState(id))?.value);
}

export function takesSlot(keys: readonly string[]): boolean {
  return keys.some((key) => key.startsWith(cluster.keys.slots));
}
