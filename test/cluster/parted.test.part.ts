/**
 * A cluster that can be hurt in every place: three members of etcd and two controllers as processes, each in a
 * network of its own, three agents under an address of their own. It stands while one case after the other is
 * tried, and each begins when all of it is whole again. Needs root, for the networks.
 */
import assert from 'node:assert/strict';
import { type EtcdClient, readKey } from '../../controller/leadership/etcd.js';
import { NodesServiceService } from '../../gen/plexi/v1/nodes.js';
import type { ClusterStatus, Rollout } from '../../gen/plexi/v1/rollouts.js';
import { addNodes, eventually } from './asking.test.part.js';
import { type Calls, type ReplicaProcess, TestCluster } from './cluster.test.part.js';
import { Networks } from './networks.test.part.js';
import { type Place, RealEtcd } from './real-etcd.test.part.js';
import type { ScriptedAgent } from './scripted-agent.test.part.js';

/** Milliseconds for one question to a replica that may be cut off. */
const askMs = 2_000;
/** Milliseconds within which whatever is waited for has happened, on a machine that is busy. */
export const patienceMs = 60_000;

/** A controller, where it stands, and how to ask it. */
export interface Seat {
  readonly id: string;
  /** The name of its network. */
  readonly network: string;
  readonly place: Place;
  process: ReplicaProcess;
  calls: Calls;
}

/** Who leads when a case begins. */
export interface Lead {
  readonly leading: Seat;
  readonly other: Seat;
  readonly term: bigint;
}

export class PartedCluster {
  readonly networks = new Networks();
  readonly memberPlaces = [0, 1, 2].map((index) => this.networks.place(`etcd-${index}`, 11 + index));
  /** Where all agents listen. */
  readonly agentsPlace = this.networks.address(2);
  readonly agents: ScriptedAgent[] = [];
  readonly seats: Seat[] = [];
  members: RealEtcd[] = [];
  /** The history of etcd up to this revision is of no use any more. */
  followedTo = 0n;
  private clients: EtcdClient[] = [];
  private made: TestCluster | undefined;

  private constructor() {}

  static async start(): Promise<PartedCluster> {
    const parted = new PartedCluster();
    try {
      await parted.fill();
      return parted;
    } catch (thrown) {
      await parted.stop();
      throw thrown;
    }
  }

  get cluster(): TestCluster {
    return this.made ?? assert.fail('the cluster was not made');
  }

  /** A client of one member. */
  client(index = 0): EtcdClient {
    return this.clients[index] ?? assert.fail(`no member ${index}`);
  }

  /** Ends everything, whatever state it is in. */
  async stop(): Promise<void> {
    for (const member of this.members) member.thaw();
    for (const { process } of this.seats) process.process.kill('SIGCONT');
    await this.made?.stop();
    await Promise.all(this.members.map((member) => member.kill()));
    await this.members[0]?.remove();
    for (const client of this.clients) client.close();
    this.networks.remove();
  }

  /** Starts a controller that was killed or stopped again, as an init system does. */
  async revive(seat: Seat): Promise<void> {
    seat.process = await this.cluster.replicaProcess(seat.id, {}, seat.place);
    seat.calls = await this.cluster.calls(seat.process.address);
  }

  /** Resolves once every member answers, both controllers see the same leader, and all nodes serve. */
  async whole(): Promise<Lead> {
    const ask = async (): Promise<{ ids: string[]; terms: bigint[]; fine: boolean } | undefined> => {
      try {
        await Promise.all(this.clients.map((client) => readKey(client, this.cluster.keys.leader)));
        const told = await Promise.all(this.seats.map(({ calls }) => calls.status('', askMs)));
        const leaders = told.flatMap(({ leader }) => leader ?? []);
        const nodes = await Promise.all(
          this.seats.map(({ calls }) => calls.ask(NodesServiceService.list, {}, askMs)),
        );
        const fine = nodes.every((list) => list.nodes.length === 3 && list.nodes.every(isFine));
        return { ids: leaders.map(({ id }) => id), terms: leaders.map(({ term }) => term), fine };
      } catch {
        return undefined;
      }
    };
    const seen = await until(
      ask,
      (all) => all?.fine === true && all.terms.length === 2 && all.terms[0] === all.terms[1],
      'the cluster does not get whole again',
    );
    const leading = this.seats.find(({ id }) => id === seen?.ids[0]);
    const other = this.seats.find((seat) => seat !== leading);
    assert.ok(leading && other && seen);
    return { leading, other, term: seen.terms[0] ?? 0n };
  }

  /** The status as somebody tells it, once something holds of it; who does not answer is asked again. */
  seen(
    { calls }: Seat,
    id: string,
    holds: (status: ClusterStatus) => boolean,
    what: string,
  ): Promise<ClusterStatus> {
    return until(
      () => calls.status(id, askMs).catch(() => undefined),
      (status) => status !== undefined && holds(status),
      what,
    ).then((status) => status ?? assert.fail(what));
  }

  /** The rollout as it ended. */
  async ended(seat: Seat, id: string): Promise<Rollout> {
    const isOver = ({ rollout }: ClusterStatus): boolean => rollout?.finishedAt !== undefined;
    return (await this.seen(seat, id, isOver, `${id} does not end`)).rollout ?? assert.fail();
  }

  /** How often this controller has stepped down so far. */
  stepsDown({ process }: Seat): number {
    return process.log().split('the lead is over').length - 1;
  }

  /** Which member of etcd leads among the members. */
  async etcdLeader(): Promise<number> {
    const told = await Promise.all(this.clients.map(({ member }) => member.maintenance.status()));
    const index = told.findIndex(({ header, leader }) => header.member_id === leader);
    assert.ok(index >= 0, 'no member of etcd leads');
    return index;
  }

  private async fill(): Promise<void> {
    this.members = await RealEtcd.startThree(this.memberPlaces);
    this.clients = this.members.map((member) => member.client());
    const [first] = this.members;
    assert.ok(first);
    const endpoints = this.members.flatMap((member) => member.connection().endpoints);
    const etcd = {
      folder: first.folder,
      connection: () => ({ endpoints, tls: first.tls }),
      client: () => first.client(),
    };
    const homes = [0, 1].map((index) => this.networks.place(`c-${index}`, 21 + index));
    this.made = await TestCluster.create('parted', etcd, this.agentsPlace, homes);
    for (const [index, place] of homes.entries()) {
      const id = `controller-${index}`;
      const process = await this.made.replicaProcess(id, {}, place);
      const calls = await this.made.calls(process.address);
      this.seats.push({ id, network: `c-${index}`, place, process, calls });
    }
    for (const node of ['node-1', 'node-2', 'node-3']) this.agents.push(await this.made.agent(node));
    await addNodes(this.seats[0]?.calls ?? assert.fail(), this.agents);
  }
}

function isFine({ inService, unknown }: { inService: boolean; unknown: boolean }): boolean {
  return inService && !unknown;
}

/** As `eventually`, with the patience that a cluster in pieces needs. */
export async function until<T>(
  ask: () => Promise<T>,
  holds: (answer: T) => boolean,
  what: string,
): Promise<T> {
  return eventually(ask, holds, what, patienceMs);
}
