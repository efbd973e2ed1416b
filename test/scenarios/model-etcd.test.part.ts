/**
 * etcd as the engine's writes know it: keys with their revisions, transactions that compare first. Like
 * the real one it refuses a transaction that names a key twice. Nothing is shared with the product's own
 * bookkeeping, so that a guard which can never hold is found here and not in a cluster.
 */
import type { EtcdCompare, EtcdEntry, EtcdOperation } from '../../controller/leadership/etcd.js';

export class ModelEtcd {
  private readonly kept = new Map<string, EtcdEntry>();
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

  /** One transaction. @returns its revision; undefined when a compare did not hold */
  transact(compares: readonly EtcdCompare[], operations: readonly EtcdOperation[]): bigint | undefined {
    const named = new Set(operations.map(({ key }) => key));
    if (named.size < operations.length) {
      throw new Error(`duplicate key in one transaction: ${operations.map(({ key }) => key).join(' ')}`);
    }
    if (!compares.every((compare) => this.holds(compare))) return undefined;
    if (operations.length > 0) this.now += 1n;
    for (const operation of operations) this.apply(operation);
    return this.now;
  }

  put(key: string, value: object): void {
    this.transact([], [{ kind: 'put', key, value: JSON.stringify(value) }]);
  }

  private apply(operation: EtcdOperation): void {
    const { key } = operation;
    if (operation.kind === 'delete') {
      this.kept.delete(key);
      return;
    }
    const createRevision = this.kept.get(key)?.createRevision ?? this.now;
    this.kept.set(key, { key, value: operation.value, createRevision, modRevision: this.now, lease: '0' });
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
