/**
 * What the leader does for a wish about one node, or about the cluster as a whole: maintenance by hand,
 * removal, hold, an order to take over, freeze. Each is checked against what is in force now, and then
 * entered in the transaction that consumes the wish.
 */
import { PlexiError } from '../../config/errors.js';
import { type VersionSchemeName, versionScheme } from '../../release/version.js';
import type { EtcdCompare, EtcdOperation } from '../leadership/etcd.js';
import { freeIndex, isStuck, nodesOut, slotOf } from '../rollout/budget.js';
import { viewOf } from '../rollout/change.js';
import { isManual } from '../rollout/manual.js';
import type { NodePhase } from '../rollout/rollout.js';
import { countSpread, whyNotOut } from '../rollout/spread.js';
import type { NodeOrder, Slot, World } from '../rollout/world.js';
import type { ClusterKeys } from '../state/keys.js';
import type { Mirror } from '../state/mirror.js';
import { decode, nodeSpecRecord, timeText } from '../state/records.js';
import type { Intent } from '../state/wish-records.js';
import { type Lookup, put } from '../state/world-writes.js';
import { forgottenKeys } from './forget-removed.js';
import type { TakenIntent } from './intents.js';

export interface NodeWishParts {
  readonly keys: ClusterKeys;
  readonly config: { readonly versionScheme: VersionSchemeName };
  readonly world: () => World;
  readonly lookup: Lookup;
  readonly mirror: Pick<Mirror, 'under'>;
  readonly nowMs: () => number;
}

type NodeWish = Extract<Intent, { kind: 'maintenance' | 'remove' | 'hold' | 'order' | 'freeze' }>;

/** Node phases in which a rollout is through with a node. */
const settledPhases: readonly NodePhase[] = ['done', 'skipped', 'rolled_back', 'rollback_failed'];

/** @throws PlexiError NOT_FOUND, NODE_BUSY, BUDGET_SPENT, CONFLICT, VERSION_INVALID */
export async function fulfilNodeWish(parts: NodeWishParts, intent: NodeWish): Promise<TakenIntent> {
  switch (intent.kind) {
    case 'maintenance':
      return maintain(parts, intent);
    case 'remove':
      return remove(parts, intent.node);
    case 'hold':
      return hold(parts, intent);
    case 'order':
      return order(parts, intent);
    case 'freeze':
      return freeze(parts, intent);
  }
}

/** Takes a slot for an operator, or gives it back; the engine sends the command (protocol, rule 19). */
function maintain(parts: NodeWishParts, intent: Extract<NodeWish, { kind: 'maintenance' }>): TakenIntent {
  const { node, on, reason } = intent;
  specOf(parts, node);
  const { slots, rollout, recovery } = parts.world();
  const key = slotOf(slots, node);
  const slot = key === undefined ? undefined : slots.get(key);
  if (slot !== undefined && key !== undefined && isStuck(key))
    throw new PlexiError('NODE_BUSY', stuckSentence(node, slot));
  if (slot !== undefined && !isManual(slot)) {
    throw new PlexiError(
      'NODE_BUSY',
      `${node} is out of service because of ${slot.rollout}; wait for its end, or abort it`,
    );
  }
  const phase = rollout?.nodes.get(node)?.state.phase;
  // One that is out all the same, whyever, is put back.
  if (!on && slot === undefined && viewOf(parts.world(), node).inMaintenance !== true) {
    throw new PlexiError(
      'CONFLICT',
      `${node} is not in maintenance by an operator${phase === undefined ? '' : ` (${phase})`}; plexictl nodes shows it`,
    );
  }
  if (on && slot === undefined && recovery !== null) {
    throw new PlexiError(
      'ETCD_RESTORED',
      `${node} is not taken out of service before every node was adopted after the restore of etcd; plexictl why ${node} names those that are awaited`,
    );
  }
  if (on && slot === undefined && freeIndex(parts.world()) === undefined)
    throw new PlexiError('BUDGET_SPENT', spentSentence(parts.world()));
  const keeping = on && slot === undefined ? whyNotOut(countSpread(parts.world()), node) : undefined;
  if (keeping !== undefined) {
    throw new PlexiError(
      'BUDGET_SPENT',
      `${node} must stay in service: ${keeping.reason}; it may go out once ${keeping.unblock}`,
    );
  }
  return taken([{ kind: 'maintenance', node, on, reason }], [], {});
}

/** Who has the budget; nodes that need an operator do not count. */
function spentSentence(world: World): string {
  const out = nodesOut(world);
  const { max } = world.budget;
  const [are, it] = out.length === 1 ? ['is', 'it'] : ['are', 'one'];
  const nodes = max === 1 ? 'node' : 'nodes';
  return `${out.join(', ')} ${are} out of service, and no more than ${max} ${nodes} may be; put ${it} back first`;
}

/** What must come first on a node that waits for an operator. */
function stuckSentence(node: string, { reason }: Slot): string {
  const why = reason === '' ? '' : `: ${reason}`;
  return `${node} needs an operator${why}; once it is put right, say plexictl node confirm ${node} --version VERSION --reason TEXT`;
}

/** A removed node leaves a tombstone, and its slot with it (protocol, rule 20); the oldest tombstones go. */
function remove(parts: NodeWishParts, node: string): TakenIntent {
  const { keys, lookup, world } = parts;
  const spec = specOf(parts, node);
  const record = world().rollout?.nodes.get(node);
  if (record !== undefined && !settledPhases.includes(record.state.phase)) {
    throw new PlexiError(
      'CONFLICT',
      `${node} is part of the active rollout and is ${record.state.phase}; abort the rollout first`,
    );
  }
  const key = keys.nodeSpec(node);
  const operations: EtcdOperation[] = [
    put(key, { ...spec, removed: true }, lookup),
    { kind: 'delete', key: keys.nodeStatus(node) },
    { kind: 'put', key: keys.labels, value: JSON.stringify({ changed: node }) },
  ];
  const forgotten = forgottenKeys({ keys, entries: parts.mirror.under(keys.nodes), lookup }, world().slots);
  operations.push(...forgotten.map((old): EtcdOperation => ({ kind: 'delete', key: old })));
  // Register and `node add` write the same records, from any replica.
  const specs = [key, ...forgotten.filter((old) => keys.nodeOf(old, 'spec') !== undefined)];
  const unchanged = specs.map(
    (spec): EtcdCompare => ({ kind: 'modRevision', key: spec, equals: lookup(spec)?.modRevision ?? 0n }),
  );
  return taken([{ kind: 'removed', node }], operations, {}, unchanged);
}

/** Keeps rollouts away from a node; one that it has begun there goes to its end. */
function hold(parts: NodeWishParts, intent: Extract<NodeWish, { kind: 'hold' }>): TakenIntent {
  const { node, on, reason, by } = intent;
  specOf(parts, node);
  const isHeld = parts.world().holds.has(node);
  if (!on && !isHeld) throw new PlexiError('CONFLICT', `${node} is not held, so there is nothing to release`);
  const sinceMs = parts.nowMs();
  return taken([{ kind: 'hold', node, hold: on ? { reason, by, sinceMs } : null }], [], {});
}

/** One order a node at a time, and none while a rollout works on it. */
function order(parts: NodeWishParts, intent: Extract<NodeWish, { kind: 'order' }>): TakenIntent {
  const { node, version, directory, reason, by } = intent;
  specOf(parts, node);
  const { canonical } = versionScheme(parts.config.versionScheme).parse(version);
  const { orders, rollout, slots } = parts.world();
  const before = orders.get(node);
  if (before?.state === 'open') {
    throw new PlexiError(
      'NODE_BUSY',
      `an order to ${before.kind} ${before.version} is under way on ${node}; wait for its end (plexictl why ${node})`,
    );
  }
  const phase = rollout?.nodes.get(node)?.state.phase;
  if (rollout !== undefined && phase !== undefined && !settledPhases.includes(phase)) {
    throw new PlexiError('NODE_BUSY', `${node} is part of ${rollout.id} and is ${phase}; wait for its end`);
  }
  const key = slotOf(slots, node);
  if (key !== undefined && !isStuck(key) && slots.get(key)?.rollout !== '') {
    throw new PlexiError('NODE_BUSY', `${node} is out of service because of a rollout; wait for its end`);
  }
  const entered: NodeOrder = {
    kind: intent.order,
    version: canonical,
    directory,
    reason,
    by,
    sinceMs: parts.nowMs(),
    state: 'open',
    message: '',
    digest: '',
  };
  return taken([{ kind: 'order', node, order: entered }], [], {});
}

/** No new rollout starts while the key stands. What runs goes on, and what is wrong may be taken back. */
function freeze(
  { keys, nowMs }: NodeWishParts,
  { on, reason, by }: Extract<NodeWish, { kind: 'freeze' }>,
): TakenIntent {
  const value = JSON.stringify({ reason, by, since: timeText(nowMs()) });
  const operation: EtcdOperation = on
    ? { kind: 'put', key: keys.freeze, value }
    : { kind: 'delete', key: keys.freeze };
  return taken([], [operation], {});
}

/** @throws PlexiError NOT_FOUND */
function specOf({ keys, lookup }: NodeWishParts, node: string) {
  const key = keys.nodeSpec(node);
  const entry = lookup(key);
  const spec = entry && decode(nodeSpecRecord, key, entry.value);
  if (spec === undefined || spec.removed)
    throw new PlexiError('NOT_FOUND', `there is no node ${node}; plexictl nodes lists them`);
  return spec;
}

/** A wish that is in force once these events and writes are stored. */
export function taken(
  events: TakenIntent['events'],
  operations: readonly EtcdOperation[],
  outcome: Partial<TakenIntent['outcome']>,
  guards: TakenIntent['writes']['guards'] = [],
): TakenIntent {
  return {
    events,
    writes: { operations, guards },
    outcome: { rollout: null, nothingToDo: false, error: null, ...outcome },
  };
}
