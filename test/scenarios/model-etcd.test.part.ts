/**
 * etcd as this program uses it, and nothing else of it: keys with their revisions, transactions that
 * compare first, ranges at a revision, and leases that end by a clock which the caller tells. Like the
 * real one it refuses a transaction that names a key twice. Nothing is shared with the product's own
 * bookkeeping, so that a guard which can never hold is found here and not in a cluster.
 */
import type { EtcdCompare, EtcdEntry, EtcdOperation } from '../../controller/leadership/etcd.js';

/** What one revision changed; a key that was deleted has no entry. */
export interface ModelChange {
  readonly revision: bigint;
  readonly changed: ReadonlyMap<string, EtcdEntry | undefined>;
}

interface Lease {
  readonly ttlMs: number;
  untilMs: number;
}

export class ModelEtcd {
  private readonly kept = new Map<string, EtcdEntry>();
  /** Every entry that a key ever had, oldest first; undefined where it was deleted. */
  private readonly past = new Map<string, { revision: bigint; entry: EtcdEntry | undefined }[]>();
  private readonly leases = new Map<string, Lease>();
  private readonly listeners = new Set<(change: ModelChange) => void>();
  private granted = 0;
  private now = 1n;

  get revision(): bigint {
    return this.now;
  }

  get(key: string): EtcdEntry | undefined {
    return this.kept.get(key);
  }

  entries(): EtcdEntry[] {
    return [...this.kept.values()];
  }

  under(prefix: string): EtcdEntry[] {
    return this.entries().filter((entry) => entry.key.startsWith(prefix));
  }

  /** All keys that begin with a prefix as they stood at a revision, by key. */
  rangeAt(prefix: string, revision: bigint): EtcdEntry[] {
    const found: EtcdEntry[] = [];
    for (const [key, versions] of this.past) {
      if (!key.startsWith(prefix)) continue;
      const entry = versions.findLast((version) => version.revision <= revision)?.entry;
      if (entry !== undefined) found.push(entry);
    }
    return found.sort((a, b) => (a.key < b.key ? -1 : 1));
  }

  /** One transaction. @returns its revision; undefined when a compare did not hold */
  transact(compares: readonly EtcdCompare[], operations: readonly EtcdOperation[]): bigint | undefined {
    const named = new Set(operations.map(({ key }) => key));
    if (named.size < operations.length) {
      throw new Error(`duplicate key in one transaction: ${operations.map(({ key }) => key).join(' ')}`);
    }
    if (!this.allHold(compares)) return undefined;
    // Before anything is changed: a transaction is committed whole, or not at all.
    for (const operation of operations) this.checkLease(operation);
    // A deletion of what is not there changes nothing, and has no revision.
    const real = operations.filter(({ kind, key }) => kind === 'put' || this.kept.has(key));
    if (real.length === 0) return this.now;
    this.now += 1n;
    for (const operation of real) this.apply(operation);
    const changed = new Map(real.map(({ key }) => [key, this.kept.get(key)]));
    for (const listener of this.listeners) listener({ revision: this.now, changed });
    return this.now;
  }

  /** Whether a transaction with these compares would be committed now. */
  allHold(compares: readonly EtcdCompare[]): boolean {
    return compares.every((compare) => this.holds(compare));
  }

  put(key: string, value: object): void {
    this.transact([], [{ kind: 'put', key, value: JSON.stringify(value) }]);
  }

  /** Calls back after every change. */
  listen(listener: (change: ModelChange) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** @returns the id of a new lease */
  grant(ttlMs: number, nowMs: number): string {
    const id = String(++this.granted);
    this.leases.set(id, { ttlMs, untilMs: nowMs + ttlMs });
    return id;
  }

  /** @returns what is left of a lease in milliseconds; 0: there is no such lease */
  renew(id: string, nowMs: number): number {
    this.expire(nowMs);
    const lease = this.leases.get(id);
    if (lease === undefined) return 0;
    lease.untilMs = nowMs + lease.ttlMs;
    return lease.ttlMs;
  }

  /** Ends a lease, and the keys on it. @returns whether there was one */
  revoke(id: string): boolean {
    if (!this.leases.delete(id)) return false;
    const keys = this.entries().flatMap(({ key, lease }) => (lease === id ? [key] : []));
    // By key, as the real one does it.
    this.transact(
      [],
      keys.sort().map((key) => ({ kind: 'delete', key })),
    );
    return true;
  }

  /** Ends the leases whose time is over. */
  expire(nowMs: number): void {
    for (const [id, { untilMs }] of this.leases) if (untilMs <= nowMs) this.revoke(id);
  }

  /** Whether a lease stands whose time is over. */
  isOver(id: string, nowMs: number): boolean {
    return (this.leases.get(id)?.untilMs ?? Number.POSITIVE_INFINITY) <= nowMs;
  }

  /** Every lease that has not ended. */
  get liveLeases(): string[] {
    return [...this.leases.keys()];
  }

  private apply(operation: EtcdOperation): void {
    const { key } = operation;
    if (operation.kind === 'delete') this.kept.delete(key);
    else {
      const { value, lease = '0' } = operation;
      const createRevision = this.kept.get(key)?.createRevision ?? this.now;
      this.kept.set(key, { key, value, createRevision, modRevision: this.now, lease });
    }
    const versions = this.past.get(key) ?? [];
    versions.push({ revision: this.now, entry: this.kept.get(key) });
    this.past.set(key, versions);
  }

  private checkLease(operation: EtcdOperation): void {
    const { lease = '0' } = operation.kind === 'put' ? operation : {};
    if (lease !== '0' && !this.leases.has(lease)) throw new Error('requested lease not found');
  }

  private holds(compare: EtcdCompare): boolean {
    switch (compare.kind) {
      case 'createRevision':
        return (this.kept.get(compare.key)?.createRevision ?? 0n) === compare.equals;
      case 'modRevision':
        return (this.kept.get(compare.key)?.modRevision ?? 0n) === compare.equals;
      case 'rangeNotAfter':
        return this.under(compare.prefix).every((entry) => entry.modRevision <= compare.revision);
    }
  }
}
