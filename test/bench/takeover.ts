/**
 * What a change of leader costs, and the loss of a member of etcd: real etcd, two controllers as processes, and
 * agents that play a script, three of which are out with an upgrade all the time. One cluster for all rounds of
 * a kind; each round begins when all of it is there again. Controllers run as they are built into dist/.
 */
import { randomInt } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { NodesServiceService } from '../../gen/plexi/v1/nodes.js';
import { addNodes, eventually } from '../cluster/asking.test.part.js';
import { type Calls, type ReplicaProcess, TestCluster } from '../cluster/cluster.test.part.js';
import { RealEtcd } from '../cluster/real-etcd.test.part.js';
import type { ScriptedAgent } from '../cluster/scripted-agent.test.part.js';
import { median } from './row.js';

export const takeoverKinds = [
  'leader told to stop',
  'leader killed',
  'member of etcd killed',
  'member of etcd stands still',
] as const;
export type TakeoverKind = (typeof takeoverKinds)[number];

/** Milliseconds. */
export interface TakeoverRow {
  readonly case: TakeoverKind;
  readonly rounds: number;
  /**
   * From the signal to the next leader's first call to a node that is out; for a member, from its loss to the
   * end of a wish that was said at that moment.
   */
  readonly medianMs: number;
  readonly fastestMs: number;
  readonly slowestMs: number;
  /** The lease of the leader. */
  readonly leaseMs: number;
  /** The median over the lease. */
  readonly leases: number;
}

const leaseSeconds = 2;
const leadership = { ttl_seconds: leaseSeconds, margin_ms: 700 };
const nodes = ['node-1', 'node-2', 'node-3', 'node-4'];

/** Measures one kind. Errors: whatever keeps the cluster from getting whole again. */
export async function measureTakeover(kind: TakeoverKind, rounds: number): Promise<TakeoverRow> {
  const members = await RealEtcd.startThree();
  const [first] = members;
  if (first === undefined) throw new Error('etcd has no member');
  const endpoints = members.flatMap((member) => member.connection().endpoints);
  const connection = () => ({ endpoints, tls: first.tls });
  const cluster = await TestCluster.create('takeover', {
    folder: first.folder,
    connection,
    client: () => first.client(),
  });
  try {
    const stand = await Stand.start(cluster, members);
    const tookMs: number[] = [];
    for (let round = 0; round < rounds; round++) tookMs.push(await stand.round(kind, round));
    return rowOf(kind, tookMs);
  } finally {
    for (const member of members) member.thaw();
    await cluster.stop();
    await Promise.all(members.map((member) => member.kill()));
    await first.remove();
  }
}

function rowOf(kind: TakeoverKind, tookMs: readonly number[]): TakeoverRow {
  const leaseMs = leaseSeconds * 1_000;
  const [medianMs, fastestMs, slowestMs] = [median(tookMs), Math.min(...tookMs), Math.max(...tookMs)];
  const whole = { medianMs, fastestMs, slowestMs };
  const rounded = Object.fromEntries(Object.entries(whole).map(([name, ms]) => [name, Math.round(ms)]));
  const leases = Math.round((100 * medianMs) / leaseMs) / 100;
  return { case: kind, rounds: tookMs.length, ...whole, ...rounded, leaseMs, leases };
}

class Stand {
  private constructor(
    private readonly cluster: TestCluster,
    private readonly members: readonly RealEtcd[],
    private readonly agents: readonly ScriptedAgent[],
    private readonly replicas: Map<string, ReplicaProcess>,
    private readonly calls: Map<string, Calls>,
  ) {}

  /** Three of four nodes out, and two controllers. */
  static async start(cluster: TestCluster, members: readonly RealEtcd[]): Promise<Stand> {
    const agents = await Promise.all(nodes.map((node) => cluster.agent(node)));
    const stand = new Stand(cluster, members, agents, new Map(), new Map());
    for (const id of ['controller-0', 'controller-1']) await stand.startReplica(id);
    const calls = stand.callsOf('controller-0');
    await addNodes(calls, agents);
    for (const agent of agents) agent.hold('upgrade');
    await calls.start({ to: '0b1', maxConcurrent: 3 });
    await Promise.all(agents.slice(0, 3).map((agent) => agent.begun('upgrade')));
    return stand;
  }

  /** @returns milliseconds */
  async round(kind: TakeoverKind, round: number): Promise<number> {
    const leading = await this.leader();
    // At another moment of the renewals each time.
    await sleep(randomInt(leaseSeconds * 500));
    switch (kind) {
      case 'leader told to stop':
        return this.change(leading, 'SIGTERM');
      case 'leader killed':
        return this.change(leading, 'SIGKILL');
      case 'member of etcd killed':
      case 'member of etcd stands still':
        return this.lose(kind, round);
    }
  }

  private async change(leading: string, signal: 'SIGTERM' | 'SIGKILL'): Promise<number> {
    const known = this.agents.map(({ contacts }) => contacts.length);
    const sinceMs = performance.now();
    const ended = this.replicas.get(leading)?.kill(signal);
    const first = await eventually(
      async () => this.agents.flatMap(({ contactsAtMs }, index) => contactsAtMs.slice(known[index])),
      (contacts) => contacts.length > 0,
      'nobody is adopted',
    );
    await ended;
    await this.startReplica(leading);
    return Math.min(...first) - sinceMs;
  }

  private async lose(kind: 'member of etcd killed' | 'member of etcd stands still', round: number) {
    const member = this.members[round % this.members.length];
    const [calls] = this.calls.values();
    if (member === undefined || calls === undefined) throw new Error('there is no member, or nobody to ask');
    const isKilled = kind === 'member of etcd killed';
    const sinceMs = performance.now();
    if (isKilled) await member.kill();
    else member.freeze();
    const wish = { nodeId: 'node-1', on: true, reason: 'a member is away' };
    const said = () =>
      calls.ask(NodesServiceService.setHold, wish).then(
        () => true,
        () => false,
      );
    await eventually(said, (isDone) => isDone, 'no wish is fulfilled');
    const tookMs = performance.now() - sinceMs;
    if (isKilled) await member.run();
    else member.thaw();
    return tookMs;
  }

  /** Who leads, as soon as every controller says the same. */
  private async leader(): Promise<string> {
    const all = [...this.calls.values()];
    const [id] = await eventually(
      () => Promise.all(all.map((calls) => leaderOf(calls))),
      ([one, other]) => one !== '' && one === other,
      'nobody leads',
    );
    return id ?? '';
  }

  private async startReplica(id: string): Promise<void> {
    const replica = await this.cluster.replicaProcess(id, { leadership });
    this.replicas.set(id, replica);
    this.calls.set(id, await this.cluster.calls(replica.address));
  }

  private callsOf(id: string): Calls {
    const calls = this.calls.get(id);
    if (calls === undefined) throw new Error(`${id} does not run`);
    return calls;
  }
}

function leaderOf(calls: Calls): Promise<string> {
  return calls.status().then(
    ({ leader }) => leader?.id ?? '',
    () => '',
  );
}
