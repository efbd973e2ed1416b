/**
 * The model etcd against a real one: the same random transactions, ranges and leases, and the same
 * answers, revision by revision. What the simulation shows rests on this.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import {
  type EtcdClient,
  type EtcdCompare,
  type EtcdEntry,
  type EtcdOperation,
  readPrefix,
  transact,
} from '../../controller/leadership/etcd.js';
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

test('transactions, ranges and leases answer as those of a real etcd do', async (t) => {
  const client = etcd.client();
  let held = 0;
  let steps = 0;
  for (let seed = 1; seed <= traces; seed++) {
    const trace = new Trace(client, seed);
    await trace.begin();
    for (let step = 0; step < stepsInTrace; step++) held += Number(await trace.step());
    await trace.compareAll();
    steps += stepsInTrace;
  }
  t.diagnostic(`${traces} traces, ${steps} steps, ${held} transactions held`);
  assert.ok(held > steps / 5 && held < steps, 'compares that always or never hold show nothing');
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
  await transact(client, [], [{ kind: 'put', key: '/expires/key', value: '1', lease: ID }]);
  const lease = model.grant(1_000, 0);
  model.transact([], [{ kind: 'put', key: '/expires/key', value: '1', lease }]);
  model.expire(999);
  assert.equal(model.under('/expires/').length, 1);
  model.expire(1_000);
  assert.deepEqual(model.under('/expires/'), []);
  while ((await readPrefix(client, '/expires/')).entries.length > 0);
});

/** One random trace, on both at once. */
class Trace {
  private readonly random: Random;
  private readonly model = new ModelEtcd();
  private readonly prefix: string;
  /** Leases by their names there and here. */
  private readonly leases: { real: string; model: string }[] = [];
  private realBase = 0n;
  private readonly modelBase: bigint;

  constructor(
    private readonly client: EtcdClient,
    seed: number,
  ) {
    this.random = new Random(seed, 'trace');
    this.prefix = `/trace/${seed}/`;
    this.modelBase = this.model.revision;
  }

  async begin(): Promise<void> {
    this.realBase = (await readPrefix(this.client, this.prefix)).revision;
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
    const real = await transact(
      this.client,
      compares.map((compare) => moved(compare, this.realBase - this.modelBase)),
      operations.map((operation) => this.there(operation)),
    );
    const model = this.model.transact(compares, operations);
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
    this.leases.push({ real: ID, model: this.model.grant(600_000, 0) });
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
      const lease = drawn === 2 ? this.leases[0]?.model : undefined;
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
    const lease = this.leases.find(({ model }) => model === operation.lease)?.real ?? '';
    return { ...operation, lease };
  }

  private plain({ key, value, createRevision, modRevision, lease }: EtcdEntry, base: bigint) {
    const known = this.leases.findIndex((one) => one.real === lease || one.model === lease);
    const onLease = lease === '0' ? 'none' : String(known);
    return { key, value, created: createRevision - base, changed: modRevision - base, onLease };
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
