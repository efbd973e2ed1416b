/**
 * Everything that the engine decides on: the rollout that is not final, the slots and what limits them,
 * what operators said of single nodes, and what the leader sees of each.
 */
import type { Fault, Milliseconds, ReleaseRef, Rollout } from './rollout.js';

/** An operator's own maintenance of a node. */
export interface ManualMaintenance {
  readonly wanted: 'in' | 'out';
  /** Counts the wishes, so that each has a command id of its own. */
  readonly attempt: number;
  readonly reason: string;
  /** The last command did not work. */
  readonly failed: boolean;
  /** The last command did. */
  readonly done: boolean;
}

/** An operator keeps rollouts away from a node. */
export interface Hold {
  readonly reason: string;
  readonly by: string;
  readonly sinceMs: Milliseconds;
}

/** An operator's order to one node, outside of every rollout: to take over what runs there already. */
export interface NodeOrder {
  /** `confirm`: after somebody changed the node by hand. */
  readonly kind: 'adopt' | 'confirm';
  readonly version: string;
  /** The folder on the node that it runs from; empty: not said. */
  readonly directory: string;
  readonly reason: string;
  readonly by: string;
  readonly sinceMs: Milliseconds;
  readonly state: 'open' | 'done' | 'failed';
  /** Why it failed; empty when it did not. */
  readonly message: string;
  /** What the node runs, by its own word; empty until it is done. */
  readonly digest: string;
}

/** A key under slots/: one node out of service because of us. */
export interface Slot {
  readonly node: string;
  readonly reason: string;
  /** Empty for an operator's own. */
  readonly rollout: string;
  readonly term: string;
  readonly sinceMs: Milliseconds;
  /** Null: the node is out because of a rollout alone. */
  readonly maintenance: ManualMaintenance | null;
}

export interface Budget {
  readonly max: number;
  readonly generation: number;
}

export type Labels = Readonly<Record<string, string>>;

/** Nodes of which so many must serve at any time. */
export interface QuorumGroup {
  readonly name: string;
  /** Its members have all of these labels. */
  readonly labels: Labels;
  readonly minAvailable: number;
}

/** Which nodes may be out at the same time, beside how many; the same on every controller. */
export interface Spread {
  /** Null: zones do not matter. */
  readonly maxPerZone: number | null;
  readonly zoneLabel: string;
  readonly groups: readonly QuorumGroup[];
}

/** What the leader sees of a node right now. Lives in memory; the next leader looks for itself. */
export interface NodeView {
  /** This leader adopted it. */
  readonly adopted: boolean;
  readonly adopting: boolean;
  readonly reachable: boolean;
  /** Why it refused to be adopted; null when it did not. */
  readonly refusal: Fault | null;
  /** The command whose stream is open. */
  readonly inFlight: string | null;
  /** Nothing is sent to it before this time. */
  readonly retryAtMs: Milliseconds;
  /** It was asked for its status, and will be again at this time. */
  readonly lookAtMs: Milliseconds;
  readonly health: 'healthy' | 'unhealthy' | 'unknown';
  readonly healthReason: string;
  readonly goodForMs: number;
  readonly release: ReleaseRef | null;
  /** Null: it has not said so yet. */
  readonly inMaintenance: boolean | null;
  /** What a person must do before its command goes on; empty: it waits for nobody. */
  readonly waitsFor: string;
  /** Since it came to the list no leader has adopted it, so nobody knows whether it is out, and why. */
  readonly joined: boolean;
  readonly seenAtMs: Milliseconds;
}

/** What follows a restore of etcd from a snapshot (protocol, rule 21). */
export type Recovery =
  /** It was noticed: nothing is sent, and no wish is taken, before an operator's word. */
  | { readonly kind: 'refused'; readonly reason: string }
  /** The word was given: no slot is taken before these nodes were adopted, or removed. */
  | { readonly kind: 'adopting'; readonly epoch: string; readonly awaited: ReadonlySet<string> };

/** Everything that the engine decides on. */
export interface World {
  readonly rollout: Rollout | undefined;
  readonly budget: Budget;
  /** What the budget is between rollouts. */
  readonly configuredMax: number;
  /** By the last part of the key: an index, or `stuck-<node>`. */
  readonly slots: ReadonlyMap<string, Slot>;
  readonly views: ReadonlyMap<string, NodeView>;
  /** By node. */
  readonly holds: ReadonlyMap<string, Hold>;
  /** By node; an order that has ended stays until the next one, so that its end can be read. */
  readonly orders: ReadonlyMap<string, NodeOrder>;
  readonly spread: Spread;
  /** Of every node that is in the cluster. */
  readonly labels: ReadonlyMap<string, Labels>;
  /** Null: etcd was not restored, or that is over. */
  readonly recovery: Recovery | null;
  readonly term: string;
  /** Wishes wait that were not taken yet, one of which may be a pause: no node starts before. */
  readonly holdStarts: boolean;
  /** Since when this leader looks; deadlines do not run while nobody does (protocol, rule 31). */
  readonly leadSinceMs: Milliseconds;
}

/** A world with a rollout. */
export interface ActiveWorld extends World {
  readonly rollout: Rollout;
}

export function isActive<W extends World>(world: W): world is W & ActiveWorld {
  return world.rollout !== undefined;
}

/** The same map with one more entry, or another value: a copy, which costs far less than its list of entries. */
export function withEntry<K, V>(map: ReadonlyMap<K, V>, key: K, value: V): ReadonlyMap<K, V> {
  const copy = new Map(map);
  copy.set(key, value);
  return copy;
}
