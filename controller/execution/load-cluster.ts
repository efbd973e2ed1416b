/** Everything that a leader decides on, read from etcd as it stood at one revision. */
import type { ControllerConfig } from '../../config/schema/controller.js';
import { type EtcdClient, type EtcdEntry, readLast, readPrefix } from '../leadership/etcd.js';
import type { World } from '../rollout/world.js';
import { type AuditHead, headOf } from '../state/audit.js';
import type { ClusterKeys } from '../state/keys.js';
import { loadWorld } from '../state/load-world.js';
import { activeRecord, decode } from '../state/records.js';
import { spreadOf } from './cluster-facts.js';

export interface LoadedCluster {
  readonly world: World;
  readonly entries: readonly EtcdEntry[];
  readonly revision: bigint;
  /** Where the audit record ends. */
  readonly auditHead: AuditHead;
}

export interface LoadParts {
  readonly client: EtcdClient;
  readonly keys: ClusterKeys;
  readonly config: ControllerConfig;
  readonly term: bigint;
  /** When this term began, on the leader's clock. */
  readonly leadSinceMs: number;
}

/** @param before what this leader had loaded; what it sees of the nodes it keeps */
export async function loadCluster(parts: LoadParts, before: World | undefined): Promise<LoadedCluster> {
  const { client, keys, config } = parts;
  const { entries: slots, revision } = await readPrefix(client, keys.slots);
  const lastAudit = readLast(client, keys.audit, revision);
  // It is waited for last, and may fail before.
  lastAudit.catch(() => undefined);
  const rest = await Promise.all(
    [keys.budget, keys.active, keys.nodes, keys.intents, keys.epoch, keys.restored].map((prefix) =>
      readPrefix(client, prefix, revision),
    ),
  );
  const entries = [...slots, ...rest.flatMap((read) => read.entries)];
  const active = entries.find((entry) => entry.key === keys.active);
  if (active !== undefined) {
    const { rollout } = decode(activeRecord, active.key, active.value);
    entries.push(...(await readPrefix(client, keys.rollout(rollout), revision)).entries);
  }
  const configuredMax = config.update.clustering.maxConcurrentNodes;
  const views = before?.views ?? new Map();
  const { term, leadSinceMs } = parts;
  const world = loadWorld(keys, entries, configuredMax, term, views, leadSinceMs, spreadOf(config));
  const auditHead = headOf(await lastAudit);
  return { world, entries, revision, auditHead };
}
