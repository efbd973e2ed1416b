/**
 * What the leader saw of each node, written to `nodes/<node>/status` when it changed, along with
 * whatever else is written. Heartbeats never reach etcd (performance: transitions only).
 */
import { isDeepStrictEqual } from 'node:util';
import type { NodeStatus } from '../../gen/plexi/v1/node_agent.js';
import type { EtcdEntry } from '../leadership/etcd.js';
import { viewOf } from '../rollout/change.js';
import { isFinal } from '../rollout/rollout.js';
import type { World } from '../rollout/world.js';
import type { ClusterKeys } from '../state/keys.js';
import { decode, type NodeStatusValue, nodeSpecRecord, nodeStatusRecord } from '../state/records.js';
import { piecesOf } from '../state/transaction-size.js';
import { guarded, type Lookup, put, type WriteGroup } from '../state/world-writes.js';
import { statusOf } from './agent-words.js';

/** Phases that a node keeps after its rollout, because they say how it ended there. */
const lastingPhases: readonly string[] = ['done', 'rolled_back', 'rollback_failed'];
/** Statuses in one transaction, at the most. */
const groupSize = 50;

type SeenStatus = ReturnType<typeof statusOf>;

export class NodeReports {
  private readonly latest = new Map<string, SeenStatus | 'lost'>();
  private dirty = new Set<string>();
  /** What was read of an entry; a key that is written again is another entry. */
  private readonly removed = new WeakMap<EtcdEntry, boolean>();
  private readonly statuses = new WeakMap<EtcdEntry, NodeStatusValue>();

  constructor(
    private readonly keys: ClusterKeys,
    private readonly wall: () => Date,
  ) {}

  /** Takes a status; undefined: the node cannot be reached. */
  seen(node: string, status: NodeStatus | undefined): void {
    this.latest.set(node, status === undefined ? 'lost' : statusOf(status));
    this.dirty.add(node);
  }

  /** Looks at every node again; for after a reload. */
  recheck(): void {
    for (const node of this.latest.keys()) this.dirty.add(node);
  }

  /** The status records that differ from what is stored. */
  writes(before: World, after: World, lookup: Lookup): WriteGroup[] {
    // A rollout that just starts is in force only once it is stored: until then no status tells of it.
    const isStart = before.rollout === undefined && after.rollout !== undefined;
    const world = isStart ? { ...after, rollout: undefined } : after;
    const nodes = new Set([...this.dirty, ...changedNodes(before, world)]);
    this.dirty = new Set(isStart ? after.rollout?.nodes.keys() : []);
    const operations = [...nodes].flatMap((node) => this.write(node, before, world, lookup));
    return piecesOf(operations, (operation) => [operation], groupSize).map((piece) => guarded(piece, lookup));
  }

  private isRemoved(spec: EtcdEntry): boolean {
    const known = this.removed.get(spec) ?? decode(nodeSpecRecord, spec.key, spec.value).removed;
    this.removed.set(spec, known);
    return known;
  }

  private storedStatus(entry: EtcdEntry): NodeStatusValue {
    const known = this.statuses.get(entry) ?? decode(nodeStatusRecord, entry.key, entry.value);
    this.statuses.set(entry, known);
    return known;
  }

  private write(node: string, earlier: World, world: World, lookup: Lookup) {
    const key = this.keys.nodeStatus(node);
    const stored = lookup(key);
    const spec = lookup(this.keys.nodeSpec(node));
    if (spec === undefined || this.isRemoved(spec)) return [];
    const before = stored && this.storedStatus(stored);
    // That it was adopted stands only once its slot does: a leader may die between the two. It may be heard
    // before the leader has taken it into its world.
    const joined = [earlier, world].some((at) => viewOf(at, node).joined || !at.labels.has(node));
    if (joined) this.dirty.add(node);
    const phase = phaseOf(node, world, before);
    const value = statusValue(this.latest.get(node), before, { phase, joined }, this.wall());
    return value === undefined || (before !== undefined && sameStatus(before, value))
      ? []
      : [put(key, value, lookup)];
  }
}

function changedNodes(before: World, after: World): string[] {
  if (before.rollout === after.rollout) return [];
  const ended = after.rollout !== undefined && isFinal(after.rollout.phase);
  return [...(after.rollout?.nodes ?? [])]
    .filter(([id, node]) => ended || before.rollout?.nodes.get(id)?.state.phase !== node.state.phase)
    .map(([id]) => id);
}

function phaseOf(node: string, world: World, before: NodeStatusValue | undefined): string {
  const { rollout } = world;
  const inRollout = rollout?.nodes.get(node)?.state.phase;
  if (rollout !== undefined && inRollout !== undefined) {
    return isFinal(rollout.phase) && !lastingPhases.includes(inRollout) ? 'idle' : inRollout;
  }
  return before !== undefined && lastingPhases.includes(before.phase) ? before.phase : 'idle';
}

function statusValue(
  latest: SeenStatus | 'lost' | undefined,
  before: NodeStatusValue | undefined,
  { phase, joined }: Pick<NodeStatusValue, 'phase' | 'joined'>,
  now: Date,
): NodeStatusValue | undefined {
  const known = latest === undefined || latest === 'lost' ? before : latest;
  if (known === undefined) return undefined;
  const unknown = latest === 'lost' || (latest === undefined && before?.unknown === true);
  const since = before !== undefined && before.phase === phase ? before.since : now.toISOString();
  return { ...known, phase, joined, unknown, since };
}

/** Whether they say the same, apart from since when, and from the words for why a node is unhealthy. */
function sameStatus(a: NodeStatusValue, b: NodeStatusValue): boolean {
  return isDeepStrictEqual({ ...a, since: '', healthReason: '' }, { ...b, since: '', healthReason: '' });
}
