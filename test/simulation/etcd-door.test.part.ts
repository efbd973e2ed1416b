/**
 * The model etcd behind the client that the real code calls: the same requests, over a network that may
 * lose a request or its answer, so that nobody knows whether a transaction was committed. And a mirror
 * of it that lies behind.
 */

import type { Logger } from 'pino';
import { limits } from '../../config/limits.js';
import type { EtcdClient, EtcdCompare, EtcdEntry, EtcdOperation } from '../../controller/leadership/etcd.js';
import { Mirror, type MirrorChange } from '../../controller/state/mirror.js';
import type { ModelChange, ModelEtcd } from '../scenarios/model-etcd.test.part.js';
import { keys } from '../scenarios/model-leader.test.part.js';
import type { Clock, Process } from './clock.test.part.js';
import type { Network } from './network.test.part.js';

interface Text {
  toString(): string;
}

interface TxnRequest {
  readonly compare: readonly {
    readonly key: Text;
    readonly range_end?: Text;
    readonly target: string;
    readonly create_revision?: string;
    readonly mod_revision?: string;
  }[];
  readonly success: readonly {
    readonly request_put?: { readonly key: Text; readonly value: Text; readonly lease?: string };
    readonly request_delete_range?: { readonly key: Text };
  }[];
}

interface RangeRequest {
  readonly key: Text;
  readonly range_end?: Text;
  readonly revision?: string;
  readonly sort_order?: 'Ascend' | 'Descend';
  readonly limit?: string;
}

/** What stands between the real code and etcd, for one controller. */
export interface EtcdWay {
  readonly etcd: ModelEtcd;
  readonly clock: Clock;
  readonly network: Network;
  /** The controller's host. */
  readonly name: string;
  /** Hears of transactions before they are tried, and lets leases end. */
  readonly watch: EtcdWatch;
}

export interface EtcdWatch {
  transaction(compares: readonly EtcdCompare[], operations: readonly EtcdOperation[]): void;
  /** One of a controller's transactions held. */
  committed(controller: string, operations: readonly EtcdOperation[], leaderBefore: string | undefined): void;
  readonly leader: string | undefined;
  expiring(): void;
}

/** A client of the model. */
export function modelClient(way: EtcdWay): EtcdClient {
  const { etcd, clock } = way;
  const kv = {
    range: (request: RangeRequest) => asked(way, () => rangeOf(etcd, request)),
    txn: (request: TxnRequest) => asked(way, () => txnOf(way, request)),
  };
  const leaseClient = {
    leaseGrant: ({ TTL }: { TTL: number }) =>
      asked(way, () => {
        clock.after(TTL * 1_000 + 1, () => way.watch.expiring(), null);
        return { ID: etcd.grant(TTL * 1_000, clock.nowMs) };
      }),
    leaseRevoke: ({ ID }: { ID: string }) =>
      asked(way, () => {
        if (!etcd.revoke(ID)) throw new Error('requested lease not found');
        return {};
      }),
    leaseKeepAlive: () => Promise.resolve(new KeepAlive(way)),
  };
  const member = { kv, leaseClient };
  return Object.assign({} as EtcdClient, { ...member, member, size: 1, moveOn: () => undefined });
}

/** Carries a request there and its answer back; without one the call ends at its deadline. */
function asked<T>({ clock, network, name }: EtcdWay, work: () => T): Promise<T> {
  const process = clock.running;
  if (process?.name !== name)
    throw new Error(`the model is wrong: ${process?.name ?? 'nobody'} asks etcd for ${name}`);
  return new Promise((resolve, reject) => {
    const deadline = clock.after(limits.etcdCallMs, () => reject(new Error('no answer')), process);
    const answer = (give: () => void): void => {
      if (network.breaks('etcd', name)) return;
      const back = (): void => {
        if (deadline.isCancelled) return;
        deadline.isCancelled = true;
        give();
      };
      clock.after(network.delayMs(), back, process);
    };
    if (network.breaks(name, 'etcd')) return;
    const arrive = (): void => {
      let result: T;
      try {
        result = work();
      } catch (thrown) {
        answer(() => reject(thrown));
        return;
      }
      answer(() => resolve(result));
    };
    // What the caller has given up may still arrive.
    const lateMs = network.chance('late_writes') ? network.between(500, 6_000) : 0;
    clock.after(network.delayMs() + lateMs, arrive, null);
  });
}

type Listener = (answer: { TTL: string }) => void;

/** A stream of renewals, of which one is used. */
class KeepAlive {
  private hear: Listener = () => undefined;

  constructor(private readonly way: EtcdWay) {}

  on(event: string, listener: Listener): void {
    if (event === 'data') this.hear = listener;
  }

  write({ ID }: { ID: string }): void {
    const { etcd, clock, watch } = this.way;
    const renew = (): { TTL: string } => {
      const leftMs = etcd.renew(ID, clock.nowMs);
      clock.after(leftMs + 1, () => watch.expiring(), null);
      return { TTL: String(Math.round(leftMs / 1_000)) };
    };
    asked(this.way, renew).then(
      (answer) => this.hear(answer),
      () => undefined,
    );
  }

  end(): void {
    this.hear = () => undefined;
  }

  cancel(): void {
    this.end();
  }
}

function rangeOf(etcd: ModelEtcd, { key, range_end, revision, sort_order, limit }: RangeRequest) {
  const name = key.toString();
  const entries =
    range_end === undefined
      ? [etcd.get(name)].filter((entry) => entry !== undefined)
      : etcd.rangeAt(name, revision === undefined ? etcd.revision : BigInt(revision));
  if (sort_order === 'Descend') entries.reverse();
  const kvs = entries.slice(0, limit === undefined ? undefined : Number(limit)).map(keyValue);
  return { kvs, header: { revision: String(etcd.revision) } };
}

function keyValue({ key, value, createRevision, modRevision, lease }: EtcdEntry) {
  return { key, value, create_revision: createRevision, mod_revision: modRevision, lease };
}

function txnOf({ etcd, watch, name }: EtcdWay, { compare, success }: TxnRequest) {
  const compares = compare.map((one): EtcdCompare => {
    const key = one.key.toString();
    if (one.range_end !== undefined)
      return { kind: 'rangeNotAfter', prefix: key, revision: BigInt(one.mod_revision ?? 0) - 1n };
    return one.target === 'Create'
      ? { kind: 'createRevision', key, equals: BigInt(one.create_revision ?? 0) }
      : { kind: 'modRevision', key, equals: BigInt(one.mod_revision ?? 0) };
  });
  const operations = success.flatMap(({ request_put, request_delete_range }): EtcdOperation[] => {
    if (request_put !== undefined) {
      const { key, value, lease } = request_put;
      return [{ kind: 'put', key: key.toString(), value: value.toString(), ...(lease && { lease }) }];
    }
    return request_delete_range ? [{ kind: 'delete', key: request_delete_range.key.toString() }] : [];
  });
  watch.transaction(compares, operations);
  const { leader } = watch;
  const revision = etcd.transact(compares, operations);
  if (revision !== undefined) watch.committed(name, operations, leader);
  return { succeeded: revision !== undefined, header: { revision: String(revision ?? etcd.revision) } };
}

/** What a replica knows of etcd by its watch: all of it, in order, and some time ago. */
export class LaggingMirror extends Mirror {
  private readonly seen = new Map<string, EtcdEntry>();
  private upTo: bigint;
  private readonly hearers = new Set<(change: MirrorChange) => void>();
  /** On their way, oldest first: whichever arrives is the oldest. */
  private readonly waiting: ModelChange[] = [];
  private arrivesMs = 0;
  readonly unfollow: () => void;

  constructor(
    private readonly way: EtcdWay,
    process: Process,
    log: Logger,
  ) {
    super({ endpoints: [], tls: { ca: '', cert: '', key: '' } }, '', keys.audit, log);
    for (const entry of way.etcd.entries()) this.seen.set(entry.key, entry);
    this.upTo = way.etcd.revision;
    this.unfollow = way.etcd.listen((change) => this.send(change, process));
  }

  override get(key: string): EtcdEntry | undefined {
    return this.seen.get(key);
  }

  override under(prefix: string): EtcdEntry[] {
    return [...this.seen.values()]
      .filter((entry) => entry.key.startsWith(prefix))
      .sort((a, b) => (a.key < b.key ? -1 : 1));
  }

  override get revision(): bigint {
    return this.upTo;
  }

  override listen(listener: (change: MirrorChange) => void): () => void {
    this.hearers.add(listener);
    return () => this.hearers.delete(listener);
  }

  /** A change on its way; while the way is cut it waits. */
  private send(change: ModelChange, process: Process): void {
    const { clock, network, name } = this.way;
    const lagMs = network.delayMs() + (network.chance('stale_reads') ? network.between(0, 1_500) : 0);
    this.arrivesMs = Math.max(this.arrivesMs, clock.nowMs + lagMs);
    this.waiting.push(change);
    const arrive = (): void => {
      if (network.isCut('etcd', name)) clock.after(100, arrive, process);
      else this.hear(this.waiting.shift() ?? change);
    };
    clock.after(this.arrivesMs - clock.nowMs, arrive, process);
  }

  private hear({ revision, changed }: ModelChange): void {
    for (const [key, entry] of changed) {
      if (entry === undefined) this.seen.delete(key);
      else if (entry.modRevision >= (this.seen.get(key)?.modRevision ?? 0n)) this.seen.set(key, entry);
    }
    if (revision > this.upTo) this.upTo = revision;
    for (const hearer of this.hearers) hearer({ keys: [...changed.keys()], revision: this.upTo });
  }
}
