/**
 * One leader over the model etcd: the engine decides, what changed is written in guarded transactions,
 * and only then are the effects handed out; as the product's loop does it. Each step is held to the
 * invariants, and what is in etcd must read back as what the leader believes.
 */
import assert from 'node:assert/strict';
import { wishOf as wishOfIntent } from '../../controller/execution/intents.js';
import type { EtcdEntry, EtcdOperation } from '../../controller/leadership/etcd.js';
import { advance } from '../../controller/rollout/advance.js';
import type { Effect, EngineEvent, Wish } from '../../controller/rollout/events.js';
import { partText } from '../../controller/rollout/plan.js';
import { firstNode, isFinal, type Plan } from '../../controller/rollout/rollout.js';
import type { Spread, World } from '../../controller/rollout/world.js';
import { type AuditHead, appendAudit, headOf } from '../../controller/state/audit.js';
import { nodeValue } from '../../controller/state/codec.js';
import { clusterKeys } from '../../controller/state/keys.js';
import { anywhere, loadWorld } from '../../controller/state/load-world.js';
import { decode } from '../../controller/state/records.js';
import { intentRecord } from '../../controller/state/wish-records.js';
import {
  changedGroups,
  compareSlots,
  sinceOwnWrites,
  transactionsOf,
  type WriteGroup,
} from '../../controller/state/world-writes.js';
import { checkContainment, checkGuards, checkSent, checkSlots } from './invariants.test.part.js';
import type { ModelEtcd } from './model-etcd.test.part.js';
import { checkSpread } from './spread-invariants.test.part.js';

export const keys = clusterKeys('paper');

/** No record's time is looked at here. */
const auditAt = new Date(0);

/** Puts a node on the list, where no leader has adopted it yet. */
export function enlist(store: ModelEtcd, node: string, labels: Readonly<Record<string, string>>): void {
  store.put(keys.nodeSpec(node), { address: '', labels });
}

/** A leader has adopted the node: the next one need not. */
export function storeAdopted(store: ModelEtcd, node: string): void {
  const seen = { phase: 'idle', health: 'healthy', unknown: false, since: auditAt.toISOString() };
  store.put(keys.nodeStatus(node), { version: '', digest: '', ...seen });
}

/** What one step came to. `after` still holds a rollout that has just ended. */
export interface Step {
  readonly before: World;
  readonly after: World;
  readonly effects: readonly Effect[];
}

/** The leader died in the middle of a step; some of its writes may be in etcd. */
export class LeaderDied extends Error {}

/** Loads of one step anew, before somebody must be writing against the leader. */
const reloadsMax = 5;

export class ModelLeader {
  private current: World;
  private auditHead: AuditHead;
  private slotsRevision: bigint;
  private labelsRevision: bigint;
  private intentsRevision: bigint;
  private wishes: EtcdEntry[] = [];

  constructor(
    private readonly store: ModelEtcd,
    private readonly configuredMax: number,
    readonly term: bigint,
    /** Operations in one transaction; the fewer, the more places there are to die between two. */
    private readonly operationsMax = 100,
    private readonly leadSinceMs = 0,
    private readonly spread: Spread = anywhere,
  ) {
    this.current = this.load(new Map());
    this.slotsRevision = store.revision;
    this.labelsRevision = store.revision;
    this.auditHead = this.readHead();
    this.intentsRevision = store.revision;
    this.notice();
  }

  get world(): World {
    return this.current;
  }

  /** Learns of the wishes that stand in etcd; the next step takes them first. */
  notice(): void {
    const { rollout } = this.current;
    this.wishes = rollout === undefined ? [] : this.store.under(keys.rolloutIntents(rollout.id));
    this.intentsRevision = this.store.revision;
  }

  /**
   * Takes events, as one batch.
   * @param writesMax the leader dies after this many transactions
   * @throws LeaderDied
   */
  step(events: readonly EngineEvent[], nowMs: number, writesMax = Number.POSITIVE_INFINITY): Step {
    const before = this.current;
    for (let reloads = 0; reloads <= reloadsMax; reloads++) {
      const { wishes, current } = this;
      const taken = wishes.map((entry) => ({ kind: 'wish', wish: wishOf(entry) }) as const);
      const extra = wishes.map((entry) => ({ kind: 'delete', key: entry.key }) as const);
      const { world: after, effects } = advance(current, [...taken, ...events], nowMs);
      if (this.persist(current, after, { operations: extra, guards: [] }, writesMax)) {
        this.wishes = [];
        this.accept(before, after, effects);
        return { before, after, effects };
      }
      this.reload();
    }
    throw new Error('the guards of a step never hold: a leader would give up');
  }

  /**
   * Starts a rollout as the product does: the parts of the plan first, then all that puts it in force, then what
   * follows from that.
   * @param writesMax the leader dies after this many transactions, of all of these
   * @throws LeaderDied
   */
  start(id: string, plan: Plan, nowMs: number, writesMax = Number.POSITIVE_INFINITY): Step {
    const { revision } = this.store;
    const left = (): number => writesMax - Number(this.store.revision - revision);
    for (const part of plan.parts) {
      if (left() <= 0) throw new LeaderDied();
      this.write([
        { kind: 'put', key: keys.planPart(id, part.node), value: partText(part) },
        {
          kind: 'put',
          key: keys.rolloutNode(id, part.node),
          value: JSON.stringify(nodeValue(firstNode(part, nowMs))),
        },
      ]);
    }
    const before = this.current;
    const event = { kind: 'start', id, plan, by: 'operator', requestId: `request for ${id}` } as const;
    const { world: after, effects } = advance(before, [event], nowMs);
    const operations: EtcdOperation[] = [
      { kind: 'put', key: keys.plan(id), value: JSON.stringify(plan.header) },
      { kind: 'put', key: keys.active, value: JSON.stringify({ rollout: id }) },
    ];
    const planned = this.store.revision;
    assert.ok(this.persist(before, after, { operations, guards: [] }, left()));
    assert.equal(this.store.revision - planned, 1n, 'a rollout is in force by one transaction');
    this.accept(before, after, effects);
    this.checkStored();
    return { ...this.step([{ kind: 'tick' }], nowMs, left()), before };
  }

  /** Takes a node off the list: its record says so in the same transaction. */
  remove(node: string, nowMs: number): Step {
    const before = this.current;
    const { world: after, effects } = advance(before, [{ kind: 'removed', node }], nowMs);
    const operations: EtcdOperation[] = [
      { kind: 'put', key: keys.nodeSpec(node), value: JSON.stringify({ address: '', removed: true }) },
      { kind: 'put', key: keys.labels, value: JSON.stringify({ changed: node }) },
    ];
    assert.ok(this.persist(before, after, { operations, guards: [] }, Number.POSITIVE_INFINITY));
    this.accept(before, after, effects);
    this.labelsRevision = this.store.revision;
    return { before, after, effects };
  }

  private readHead(): AuditHead {
    return headOf(this.store.under(keys.audit).at(-1));
  }

  /** Whether etcd holds what the leader believes; what it sees of the nodes is in memory alone. */
  checkStored(): void {
    const { views } = this.current;
    const stored = this.load(views);
    assert.deepEqual(stored, this.current);
  }

  private accept(before: World, after: World, effects: readonly Effect[]): void {
    checkSlots(after);
    checkSpread(before, after);
    checkContainment(before, after);
    if (after.rollout !== undefined) checkSent(keys, this.store, after.rollout, effects);
    // In the product too it stands behind the slot that the adoption may have made.
    for (const [node, { joined }] of after.views)
      if (!joined && before.views.get(node)?.joined) storeAdopted(this.store, node);
    this.current = withoutFinal(after);
  }

  private load(views: World['views']): World {
    return withoutFinal(
      loadWorld(
        keys,
        this.store.entries(),
        this.configuredMax,
        this.term,
        views,
        this.leadSinceMs,
        this.spread,
      ),
    );
  }

  private reload(): void {
    this.current = this.load(this.current.views);
    this.auditHead = this.readHead();
    this.slotsRevision = this.store.revision;
    this.labelsRevision = this.store.revision;
    this.notice();
  }

  private persist(before: World, after: World, extra: WriteGroup, writesMax: number): boolean {
    const lookup = (key: string): EtcdEntry | undefined => this.store.get(key);
    const seen = { slots: this.slotsRevision, intents: this.intentsRevision, labels: this.labelsRevision };
    const groups = changedGroups(keys, before, after, lookup, seen);
    checkGuards(keys, this.store, groups);
    let writes = 0;
    for (const { operations, guards, audit = [] } of transactionsOf(groups, extra, this.operationsMax)) {
      if (writes++ >= writesMax) throw new LeaderDied();
      const record = appendAudit(keys, this.auditHead, audit, { at: auditAt, term: String(this.term) });
      const revision = this.store.transact(
        [...sinceOwnWrites(guards, keys, this.slotsRevision), ...record.guards],
        [...operations, ...record.operations],
      );
      if (revision === undefined) return false;
      if (compareSlots(guards, keys)) this.slotsRevision = revision;
      this.auditHead = record.head;
    }
    return true;
  }

  private write(operations: readonly EtcdOperation[]): void {
    this.store.transact([], operations);
  }
}

function wishOf(entry: EtcdEntry): Wish {
  const intent = decode(intentRecord, entry.key, entry.value);
  switch (intent.kind) {
    case 'abort':
    case 'pause':
    case 'resume':
    case 'retry':
    case 'skip':
      return wishOfIntent(intent);
    default:
      throw new Error(`${intent.kind} is no wish for a rollout`);
  }
}

function withoutFinal(world: World): World {
  return world.rollout !== undefined && isFinal(world.rollout.phase)
    ? { ...world, rollout: undefined }
    : world;
}
