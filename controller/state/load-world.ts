/**
 * Reads the world from what stands in etcd: the whole of it for a leader that begins, one rollout for
 * whoever follows it.
 */
import { createHash } from 'node:crypto';
import { PlexiError } from '../../config/errors.js';
import type { EtcdEntry } from '../leadership/etcd.js';
import { unseenNode } from '../rollout/change.js';
import { firstNode, type Plan, type PlanPart, type Rollout, type RolloutNode } from '../rollout/rollout.js';
import { withClocksFrom } from '../rollout/silence.js';
import type { Labels, NodeView, Recovery, Spread, World } from '../rollout/world.js';
import { readHeader, readHold, readNode, readOrder, readPart, readSlot, readState } from './codec.js';
import type { ClusterKeys } from './keys.js';
import { readNodes } from './node-store.js';
import {
  activeRecord,
  budgetRecord,
  decode,
  epochRecord,
  nodeEpochRecord,
  nodeSpecRecord,
  restoredRecord,
} from './records.js';

/** The persisted part of the world, from the entries of the cluster at one revision. */
export function loadWorld(
  keys: ClusterKeys,
  entries: readonly EtcdEntry[],
  configuredMax: number,
  term: bigint,
  views: ReadonlyMap<string, NodeView>,
  leadSinceMs: number,
  spread: Spread = anywhere,
): World {
  const byKey = new Map(entries.map((entry) => [entry.key, entry]));
  const budget = byKey.get(keys.budget);
  const active = byKey.get(keys.active);
  const world: World = {
    rollout: active && loadRollout(keys, decode(activeRecord, keys.active, active.value).rollout, entries),
    budget:
      budget === undefined
        ? { max: configuredMax, generation: 0 }
        : decode(budgetRecord, keys.budget, budget.value),
    configuredMax,
    slots: new Map(
      under(entries, keys.slots).map((entry) => [
        entry.key.slice(keys.slots.length),
        readSlot(entry.key, entry.value),
      ]),
    ),
    views: withJoiners(keys, entries, views),
    holds: ofNodes(keys, entries, 'hold', readHold),
    orders: ofNodes(keys, entries, 'order', readOrder),
    spread,
    labels: labelsOf(keys, entries),
    recovery: loadRecovery(keys, entries),
    term: String(term),
    leadSinceMs,
    holdStarts: false,
  };
  // Nobody looked while nobody led: no node is charged for that time.
  return withClocksFrom(world, leadSinceMs);
}

/** Nodes that no leader has adopted since they came to the list, or came back to it: it may have died before. */
function withJoiners(
  keys: ClusterKeys,
  entries: readonly EtcdEntry[],
  views: ReadonlyMap<string, NodeView>,
): ReadonlyMap<string, NodeView> {
  const joined = readNodes(keys, entries).filter(
    ({ spec, status }) => !spec.removed && (status?.joined ?? true),
  );
  return new Map([
    ...views,
    ...joined.map(({ id }) => [id, { ...(views.get(id) ?? unseenNode), joined: true }] as const),
  ]);
}

/** Zones do not matter, and there are no groups. */
export const anywhere: Spread = { maxPerZone: null, zoneLabel: 'zone', groups: [] };

/** The labels of every node that is in the cluster. */
export function labelsOf(keys: ClusterKeys, entries: readonly EtcdEntry[]): ReadonlyMap<string, Labels> {
  const specs = ofNodes(keys, entries, 'spec', (key, text) => decode(nodeSpecRecord, key, text));
  return new Map([...specs].filter(([, { removed }]) => !removed).map(([id, { labels }]) => [id, labels]));
}

/** What follows a restore of etcd; null when there was none, or when all of it is over. */
export function loadRecovery(keys: ClusterKeys, entries: readonly EtcdEntry[]): Recovery | null {
  const restored = entries.find((entry) => entry.key === keys.restored);
  if (restored !== undefined)
    return { kind: 'refused', reason: decode(restoredRecord, restored.key, restored.value).reason };
  const stored = entries.find((entry) => entry.key === keys.epoch);
  const { epoch, recovering } = stored
    ? decode(epochRecord, stored.key, stored.value)
    : { epoch: 1, recovering: false };
  if (!recovering) return null;
  const adopted = ofNodes(keys, entries, 'epoch', (key, text) => decode(nodeEpochRecord, key, text).epoch);
  const nodes = readNodes(keys, entries).filter(({ id, spec }) => !spec.removed && adopted.get(id) !== epoch);
  return { kind: 'adopting', epoch: String(epoch), awaited: new Set(nodes.map(({ id }) => id)) };
}

/** What stands under each node's name and a last word, by node. */
export function ofNodes<T>(
  keys: ClusterKeys,
  entries: readonly EtcdEntry[],
  word: string,
  read: (key: string, text: string) => T,
): ReadonlyMap<string, T> {
  return new Map(
    entries.flatMap((entry) => {
      const node = keys.nodeOf(entry.key, word);
      return node === undefined ? [] : [[node, read(entry.key, entry.value)] as const];
    }),
  );
}

/** A whole rollout from its entries; undefined when it has no state. */
export function loadRollout(
  keys: ClusterKeys,
  id: string,
  entries: readonly EtcdEntry[],
): Rollout | undefined {
  const stateEntry = entries.find((entry) => entry.key === keys.rolloutState(id));
  const planEntry = entries.find((entry) => entry.key === keys.plan(id));
  if (stateEntry === undefined || planEntry === undefined) return undefined;
  const state = readState(stateEntry.key, stateEntry.value);
  const plan = loadPlan(planEntry, under(entries, keys.planParts(id)));
  const prefix = keys.rolloutNodes(id);
  const nodes = new Map<string, RolloutNode>(
    under(entries, prefix).map((entry) => {
      const node = entry.key.slice(prefix.length);
      return [node, decodedNode(node, entry)];
    }),
  );
  return {
    id,
    plan,
    phase: state.phase,
    reason: state.reason,
    course: state.course,
    startedAtMs: state.startedAt,
    startedBy: state.startedBy,
    requestId: state.requestId,
    finishedAtMs: state.finishedAt,
    exitCode: state.exitCode,
    forgiven: state.forgiven,
    nodes: new Map(
      plan.parts.map((part) => {
        return [part.node, nodes.get(part.node) ?? firstNode(part, state.startedAt)];
      }),
    ),
  };
}

/** A plan whose parts are the ones that its header was made over. @throws PlexiError STORE_INVALID */
function loadPlan(headerEntry: EtcdEntry, partEntries: readonly EtcdEntry[]): Plan {
  const header = readHeader(headerEntry.key, headerEntry.value);
  const parts = partEntries.map(decodedPart).sort((a, b) => a.part.index - b.part.index);
  if (sha256(parts.map(({ hash }) => hash).join('\n')) !== header.partsDigest) {
    throw new PlexiError(
      'STORE_INVALID',
      `the parts under ${headerEntry.key}/nodes/ are not the ones that were planned; restore etcd`,
    );
  }
  return { header, digest: sha256(headerEntry.value), parts: parts.map(({ part }) => part) };
}

/**
 * What an entry says is read once: entries are never changed, and whoever follows a rollout is told of
 * every change of it, which would read all its nodes again each time.
 */
const nodesOf = new WeakMap<EtcdEntry, RolloutNode>();
const partsOf = new WeakMap<EtcdEntry, { readonly part: PlanPart; readonly hash: string }>();

function decodedNode(id: string, entry: EtcdEntry): RolloutNode {
  const known = nodesOf.get(entry);
  if (known !== undefined) return known;
  const node = readNode(id, entry.key, entry.value);
  nodesOf.set(entry, node);
  return node;
}

function decodedPart(entry: EtcdEntry) {
  const known = partsOf.get(entry);
  if (known !== undefined) return known;
  const decoded = { part: readPart(entry.key, entry.value), hash: sha256(entry.value) };
  partsOf.set(entry, decoded);
  return decoded;
}

/** SHA-256 in hex, of a text. */
export function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

function under(entries: readonly EtcdEntry[], prefix: string): EtcdEntry[] {
  return entries.filter((entry) => entry.key.startsWith(prefix));
}
