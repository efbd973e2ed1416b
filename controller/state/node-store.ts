/** The nodes of the cluster as etcd knows them: what an operator said, and what the leader saw. */
import type { EtcdEntry } from '../leadership/etcd.js';
import type { ClusterKeys } from './keys.js';
import { decode, type NodeSpec, type NodeStatusValue, nodeSpecRecord, nodeStatusRecord } from './records.js';

export interface StoredNode {
  readonly id: string;
  readonly spec: NodeSpec;
  /** Absent until the leader reached the node. */
  readonly status: NodeStatusValue | undefined;
}

/** All nodes, by name, removed ones among them. */
export function readNodes(keys: ClusterKeys, entries: readonly EtcdEntry[]): StoredNode[] {
  const byKey = new Map(entries.map((entry) => [entry.key, entry]));
  return entries
    .flatMap((entry) => {
      const id = keys.nodeOf(entry.key, 'spec');
      if (id === undefined) return [];
      const spec = decode(nodeSpecRecord, entry.key, entry.value);
      const status = byKey.get(keys.nodeStatus(id));
      return [{ id, spec, status: status && decode(nodeStatusRecord, status.key, status.value) }];
    })
    .sort((a, b) => (a.id < b.id ? -1 : 1));
}
