/**
 * The model etcd against a real one: the same random transactions, ranges and leases, and the same
 * answers, revision by revision, and the same events. What the simulation shows rests on this.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { IWatchResponse } from 'etcd3';
import {
  type EtcdClient,
  type EtcdCompare,
  type EtcdEntry,
  type EtcdOperation,
  entryOf,
  rangeEnd,
  readPrefix,
  transact,
} from '../../controller/leadership/etcd.js';
import { eventually } from '../cluster/asking.test.part.js';
import { RealEtcd } from '../cluster/real-etcd.test.part.js';
import { ModelEtcd } from '../scenarios/model-etcd.test.part.js';
import { Random } from './random.test.part.js';

const traces = Number(process.env.PLEXI_ETCD_TRACES ?? 12);
const stepsInTrace = 60;

let etcd: RealEtcd;
before(async () => {
  etcd = await RealEtcd.start();
});
after(() => etcd.remove());

test('transactions, ranges, leases and watches answer as those of a real etcd do', async (t) => {
  const client = etcd.client();
  let held = 0;
  let steps = 0;
  let events = 0;
  let refused = 0;
  for (let seed = 1; seed <= traces; seed++) {
    const trace = new Trace(client, seed);
    await trace.begin();
    for (let step = 0; step < stepsInTrace; step++) held += Number(await trace.step());
    await trace.compareAll();
    events += await trace.compareEvents();
    refused += trace.refused;
    steps += stepsInTrace;
  }
  t.diagnostic(`${traces} traces, ${steps} steps, ${held} transactions held, ${events} events`);
  assert.ok(held > steps / 5 && held < steps, 'compares that always or never hold show nothing');
  assert.ok(events > held, 'there were hardly any events');
  assert.ok(refused > 0, 'no lease had ended');
});

test('a transaction that names a key twice is refused by both', async () => {
  const twice: EtcdOperation[] = [
    { kind: 'put', key: '/twice', value: '1' },
    { kind: 'delete', key: '/twice' },
  ];
  await assert.rejects(transact(etcd.client(), [], twice));
  assert.throws(() => new ModelEtcd().transact([], twice));
});

test('a lease that nobody renews ends, and its key with it', async () => {
  const client = etcd.client();
  const model = new ModelEtcd();
  const { ID } = await client.leaseClient.leaseGrant({ TTL: 1 });
  const at = await transact(client, [], [{ kind: 'put', key: '/expires/key', value: '1', lease: ID }]);
  // At its own revision: however slow this machine is, it was there.
  assert.equal((await readPrefix(client, '/expires/', at)).entries.length, 1);
  const lease = model.grant(1_000, 0);
  model.transact([], [{ kind: 'put', key: '/expires/key', value: '1', lease }]);
  model.expire(999);
  assert.equal(model.under('/expires/').length, 1);
  model.expire(1_000);
  assert.deepEqual(model.under('/expires/'), []);
  await eventually(
    () => readPrefix(client, '/expires/'),
    ({ entries }) => entries.length === 0,
    'the key does not end with its lease',
  );
});

/** One random trace, on both at once. */
class Trace {
  private readonly random: Random;
  private readonly model = new ModelEtcd();
  private readonly prefix: string;
  /** Leases by their names there and here. */
  private readonly leases: { real: string; model: string }[] = [];
  /** These, and those that were revoked. */
  private readonly granted: { real: string; model: string }[] = [];
  /** What a listener of the model has heard. */
  private readonly heard: object[] = [];
  private watch: Watch | undefined;
  /** Transactions that named a lease which had ended. */
  refused = 0;
  private realBase = 0n;
  private readonly modelBase: bigint;

  constructor(
    private readonly client: EtcdClient,
    seed: number,
  ) {
    this.random = new Random(seed, 'trace');
    this.prefix = `/trace/${seed}/`;
    this.modelBase = this.model.revision;
    this.model.listen(({ revision, changed }) => {
      const at = revision - this.modelBase;
      for (const [key, entry] of changed) {
        const is = entry === undefined ? { key, deleted: true } : this.plain(entry, this.modelBase);
        this.heard.push({ at, ...is });
      }
    });
  }

  async begin(): Promise<void> {
    this.realBase = (await readPrefix(this.client, this.prefix)).revision;
    this.watch = await Watch.open(this.client, this.prefix, this.realBase + 1n);
  }

  /** Of a watch that was there all the time, and of one that is told the past. @returns how many */
  async compareEvents(): Promise<number> {
    const upTo = this.model.revision - this.modelBase + this.realBase;
    const late = await Watch.open(this.client, this.prefix, this.realBase + 1n);
    for (const watch of [this.watch, late]) {
      assert.ok(watch);
      assert.deepEqual(
        (await watch.upTo(upTo)).map((event) => this.plainEvent(event)),
        this.heard,
      );
      watch.close();
    }
    return this.heard.length;
  }

  /** @returns whether it was a transaction that held */
  async step(): Promise<boolean> {
    const drawn = this.random.between(0, 9);
    if (drawn === 0) await this.grant();
    else if (drawn === 1) await this.revoke();
    else if (drawn === 2) await this.compareRange();
    else return this.transaction();
    return false;
  }

  async compareAll(): Promise<void> {
    const { entries, revision } = await readPrefix(this.client, this.prefix);
    assert.deepEqual(
      entries.map((entry) => this.plain(entry, this.realBase)),
      this.model.rangeAt(this.prefix, this.model.revision).map((entry) => this.plain(entry, this.modelBase)),
    );
    assert.equal(revision - this.realBase, this.model.revision - this.modelBase);
  }

  private async transaction(): Promise<boolean> {
    const operations = this.operations();
    const compares = Array.from({ length: this.random.between(0, 2) }, () => this.compare());
    const real = await orRefused(() =>
      transact(
        this.client,
        compares.map((compare) => moved(compare, this.realBase - this.modelBase)),
        operations.map((operation) => this.there(operation)),
      ),
    );
    const model = await orRefused(async () => this.model.transact(compares, operations));
    assert.equal(model === 'refused', real === 'refused', 'one of them refuses a lease that has ended');
    if (model === 'refused' || real === 'refused') {
      this.refused += 1;
      await this.compareAll();
      return false;
    }
    assert.equal(
      real === undefined ? undefined : real - this.realBase,
      model === undefined ? undefined : model - this.modelBase,
      JSON.stringify({ compares, operations }, (_, value) =>
        typeof value === 'bigint' ? String(value) : value,
      ),
    );
    return model !== undefined;
  }

  private async grant(): Promise<void> {
    const { ID } = await this.client.leaseClient.leaseGrant({ TTL: 600 });
    const lease = { real: ID, model: this.model.grant(600_000, 0) };
    this.leases.push(lease);
    this.granted.push(lease);
  }

  private async revoke(): Promise<void> {
    const [lease] = this.leases.splice(this.random.between(0, 3), 1);
    if (lease === undefined) return;
    await this.client.leaseClient.leaseRevoke({ ID: lease.real });
    assert.equal(this.model.revoke(lease.model), true);
    assert.equal(await renewed(this.client, lease.real), 0);
    assert.equal(this.model.renew(lease.model, 0), 0);
    await this.compareAll();
  }

  /** A range at a revision that is past. */
  private async compareRange(): Promise<void> {
    const back = BigInt(this.random.between(0, Number(this.model.revision - this.modelBase)));
    const at = this.model.revision - back;
    const { entries } = await readPrefix(this.client, this.prefix, at - this.modelBase + this.realBase);
    assert.deepEqual(
      entries.map((entry) => this.plain(entry, this.realBase)),
      this.model.rangeAt(this.prefix, at).map((entry) => this.plain(entry, this.modelBase)),
    );
  }

  private operations(): EtcdOperation[] {
    const keys = new Set(Array.from({ length: this.random.between(1, 3) }, () => this.key()));
    return [...keys].map((key): EtcdOperation => {
      const drawn = this.random.between(0, 5);
      if (drawn < 2) return { kind: 'delete', key };
      // One in a few is a lease that has ended.
      const from = this.random.between(0, 3) === 0 ? this.granted : this.leases;
      const lease = drawn === 2 ? from[0]?.model : undefined;
      return { kind: 'put', key, value: String(this.random.between(0, 999)), ...(lease && { lease }) };
    });
  }

  /** About what is there, or was: about half of them hold. */
  private compare(): EtcdCompare {
    const key = this.key();
    const entry = this.model.get(key);
    const off = BigInt(this.random.between(0, 1));
    switch (this.random.between(0, 2)) {
      case 0:
        return { kind: 'createRevision', key, equals: off === 0n ? (entry?.createRevision ?? 0n) : 0n };
      case 1:
        return { kind: 'modRevision', key, equals: off === 0n ? (entry?.modRevision ?? 0n) : 0n };
      default:
        return { kind: 'rangeNotAfter', prefix: this.prefix, revision: this.model.revision - off };
    }
  }

  private key(): string {
    return `${this.prefix}${this.random.pick(['a', 'b', 'c/d', 'c/e', 'f'])}`;
  }

  private there(operation: EtcdOperation): EtcdOperation {
    if (operation.kind === 'delete' || operation.lease === undefined) return operation;
    const lease = this.granted.find(({ model }) => model === operation.lease)?.real ?? '';
    return { ...operation, lease };
  }

  private plainEvent({ entry, isDeleted }: WatchEvent) {
    const { key, modRevision } = entry;
    const is = isDeleted ? { key, deleted: true } : this.plain(entry, this.realBase);
    return { at: modRevision - this.realBase, ...is };
  }

  private plain({ key, value, createRevision, modRevision, lease }: EtcdEntry, base: bigint) {
    const known = this.granted.findIndex((one) => one.real === lease || one.model === lease);
    const onLease = lease === '0' ? 'none' : String(known);
    return { key, value, created: createRevision - base, changed: modRevision - base, onLease };
  }
}

interface WatchEvent {
  readonly entry: EtcdEntry;
  readonly isDeleted: boolean;
}

/** A real watch over a prefix, as a mirror has one, and what it has told. */
class Watch {
  private readonly events: WatchEvent[] = [];
  private ended: Error | undefined;

  private constructor(private readonly stream: Awaited<ReturnType<EtcdClient['watchClient']['watch']>>) {}

  /** Resolves once etcd has taken it up. */
  static async open(client: EtcdClient, prefix: string, from: bigint): Promise<Watch> {
    const stream = await client.watchClient.watch();
    const watch = new Watch(stream);
    await new Promise<void>((resolve, reject) => {
      stream.on('data', (response: IWatchResponse) => {
        if (response.created) resolve();
        watch.take(response);
      });
      stream.on('error', (error: Error) => {
        watch.ended = error;
        reject(error);
      });
      stream.write({
        create_request: {
          key: Buffer.from(prefix),
          range_end: rangeEnd(prefix),
          start_revision: String(from),
        },
      });
    });
    return watch;
  }

  /** Everything that it tells up to a revision, which must be one of its own, or the one before it began. */
  async upTo(revision: bigint): Promise<readonly WatchEvent[]> {
    await eventually(
      async () => this.ended ?? this.events.at(-1)?.entry.modRevision ?? 0n,
      (last) => last instanceof Error || last >= revision,
      `the watch does not come to revision ${revision}`,
    );
    if (this.ended !== undefined) throw this.ended;
    return this.events;
  }

  close(): void {
    this.ended = new Error('it was closed');
    this.stream.cancel();
  }

  private take({ events }: IWatchResponse): void {
    for (const { type, kv } of events) {
      const isDeleted = String(type).toUpperCase() === 'DELETE' || String(type) === '1';
      this.events.push({ entry: entryOf(kv), isDeleted });
    }
  }
}

/** What came of it, where a lease that is none may refuse it. */
async function orRefused<T>(work: () => Promise<T>): Promise<T | 'refused'> {
  try {
    return await work();
  } catch (thrown) {
    const words = thrown instanceof Error ? `${thrown.message} ${String(thrown.cause)}` : '';
    if (words.includes('requested lease not found')) return 'refused';
    throw thrown;
  }
}

/** The same compare for a history that began at another revision; 0 says absent in both. */
function moved(compare: EtcdCompare, by: bigint): EtcdCompare {
  if (compare.kind === 'rangeNotAfter') return { ...compare, revision: compare.revision + by };
  return { ...compare, equals: compare.equals === 0n ? 0n : compare.equals + by };
}

/** What is left of a lease, in seconds. */
async function renewed(client: EtcdClient, lease: string): Promise<number> {
  const stream = await client.leaseClient.leaseKeepAlive();
  const left = await new Promise<number>((resolve, reject) => {
    stream.on('data', (answer) => resolve(Number(answer.TTL)));
    stream.on('error', reject);
    stream.write({ ID: lease });
  });
  stream.end();
  return left;
}
