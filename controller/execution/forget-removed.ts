/**
 * A node that was removed stays refused until an operator lets it in (protocol, rule 20), and what it leaves
 * would grow for ever: so many are remembered, and the oldest is forgotten with all that stands under it. Pure.
 */
import { limits } from '../../config/limits.js';
import type { EtcdEntry } from '../leadership/etcd.js';
import { slotOf } from '../rollout/budget.js';
import type { Slot } from '../rollout/world.js';
import type { ClusterKeys } from '../state/keys.js';
import { readNodes } from '../state/node-store.js';
import type { Lookup } from '../state/world-writes.js';

/** Keys that one removal takes away, at the most: they share its transaction. */
const keysMax = 60;

interface Listed {
  readonly keys: ClusterKeys;
  /** All that stands under the nodes. */
  readonly entries: readonly EtcdEntry[];
  /** What the leader knows; where that differs, the entries are behind. */
  readonly lookup: Lookup;
}

/** The keys to delete when one more node is removed: of each node its spec last, so that none is left over. */
export function forgottenKeys(
  { keys, entries, lookup }: Listed,
  slots: ReadonlyMap<string, Slot>,
): readonly string[] {
  const specOf = new Map(entries.map((entry) => [entry.key, entry]));
  const removed = readNodes(keys, entries)
    .filter(({ id, spec }) => spec.removed && slotOf(slots, id) === undefined)
    .flatMap(({ id }) => {
      const entry = specOf.get(keys.nodeSpec(id));
      const isKnown = entry !== undefined && lookup(entry.key)?.modRevision === entry.modRevision;
      return isKnown ? [{ id, entry }] : [];
    })
    .sort((a, b) => (a.entry.modRevision < b.entry.modRevision ? -1 : 1));
  const tooMany = removed.slice(0, Math.max(0, removed.length + 1 - limits.removedNodesKept));
  return tooMany
    .flatMap(({ id, entry }) => {
      const under = entries.map(({ key }) => key).filter((key) => key.startsWith(`${keys.nodes}${id}/`));
      return [...under.filter((key) => key !== entry.key), entry.key];
    })
    .slice(0, keysMax);
}
