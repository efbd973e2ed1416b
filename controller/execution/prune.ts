/**
 * Finished rollouts are kept for a while, then removed; what was planned and never put in force is
 * swept (protocol, rules 22 and 27). Only the leader does it, between two batches.
 */
import { limits } from '../../config/limits.js';
import type { EtcdEntry, EtcdOperation } from '../leadership/etcd.js';
import type { FencedStore } from '../leadership/fenced-store.js';
import { headOf } from '../state/audit.js';
import type { ClusterKeys } from '../state/keys.js';

/** Deletions in one transaction. */
const chunkSize = 100;

/**
 * @param entries everything under rollouts/
 * @param active the id of the active rollout, if any
 */
export async function pruneRollouts(
  store: FencedStore,
  keys: ClusterKeys,
  entries: readonly EtcdEntry[],
  active: string | undefined,
  nowMs: number,
): Promise<string[]> {
  const doomed = doomedRollouts(keys, entries, active, nowMs);
  const isState = (entry: EtcdEntry): boolean => entry.key === keys.rolloutState(rolloutOf(keys, entry.key));
  const doomedEntries = entries.filter((entry) => doomed.has(rolloutOf(keys, entry.key)));
  // The state first: a rollout without one is not shown, and one without its plan could not be read.
  const inOrder = [...doomedEntries].sort((a, b) => Number(isState(b)) - Number(isState(a)));
  const operations: EtcdOperation[] = inOrder.map(({ key }) => ({ kind: 'delete', key }));
  for (let from = 0; from < operations.length; from += chunkSize) {
    await store.write(operations.slice(from, from + chunkSize));
  }
  return [...doomed];
}

/** Audit records that are removed at the end of one rollout, at the most. */
const auditPrunedMax = 2_000;

/**
 * Removes the oldest audit records beyond what is kept, a bounded number at a time.
 * @param oldest reads the oldest records, so many of them
 * @param last the number of the newest one
 * @returns how many were removed
 */
export async function pruneAudit(
  store: FencedStore,
  oldest: (limit: number) => Promise<EtcdEntry[]>,
  last: number,
): Promise<number> {
  const isDoomed = (entry: EtcdEntry): boolean => headOf(entry).sequence <= last - limits.auditRecordsKept;
  if (!(await oldest(1)).some(isDoomed)) return 0;
  const doomed = (await oldest(auditPrunedMax)).filter(isDoomed);
  for (let from = 0; from < doomed.length; from += chunkSize) {
    await store.write(doomed.slice(from, from + chunkSize).map(({ key }) => ({ kind: 'delete', key })));
  }
  return doomed.length;
}

/** Those without a state, and finished ones beyond both the number and the days that are kept. */
export function doomedRollouts(
  keys: ClusterKeys,
  entries: readonly EtcdEntry[],
  active: string | undefined,
  nowMs: number,
): Set<string> {
  const ids = new Set(entries.map((entry) => rolloutOf(keys, entry.key)));
  const states = entries
    .filter((entry) => entry.key === keys.rolloutState(rolloutOf(keys, entry.key)))
    .sort((a, b) => (a.createRevision > b.createRevision ? -1 : 1));
  const kept = new Set(
    states
      .filter((entry, index) => index < limits.rolloutsKept || isYoung(entry, nowMs))
      .map((entry) => rolloutOf(keys, entry.key)),
  );
  return new Set([...ids].filter((id) => id !== active && !kept.has(id)));
}

function isYoung(entry: EtcdEntry, nowMs: number): boolean {
  const state: unknown = JSON.parse(entry.value);
  const finishedAt =
    typeof state === 'object' && state !== null && 'finishedAt' in state ? state.finishedAt : null;
  if (typeof finishedAt !== 'string') return true;
  return nowMs - Date.parse(finishedAt) < limits.rolloutsKeptDays * 86_400_000;
}

function rolloutOf(keys: ClusterKeys, key: string): string {
  return key.slice(keys.rollouts.length).split('/', 1)[0] ?? '';
}
