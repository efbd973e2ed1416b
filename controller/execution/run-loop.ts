/**
 * The leader's loop: take what has happened, let the engine decide, persist the decision in guarded
 * transactions, and only then do it. One batch at a time; what happens meanwhile waits in the queue.
 *
 * A guard that fails, or a write whose end nobody knows, leads to one thing: the state is loaded anew
 * from etcd, and the same events are taken again. Events are facts, so that changes nothing twice.
 */
import type { Logger } from 'pino';
import { asPlexiError, PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import type { EtcdCompare, EtcdEntry, EtcdOperation } from '../leadership/etcd.js';
import type { FencedStore } from '../leadership/fenced-store.js';
import { advance } from '../rollout/advance.js';
import { slotOf } from '../rollout/budget.js';
import { viewOf } from '../rollout/change.js';
import type { Effect, EngineEvent } from '../rollout/events.js';
import { isFinal } from '../rollout/rollout.js';
import type { World } from '../rollout/world.js';
import { type AuditStamp, appendAudit, emptyHead } from '../state/audit.js';
import type { ClusterKeys } from '../state/keys.js';
import {
  changedGroups,
  compareSlots,
  type Lookup,
  sinceOwnWrites,
  transactionsOf,
  type WriteGroup,
} from '../state/world-writes.js';
import type { LoadedCluster } from './load-cluster.js';

export interface RunLoopParts {
  readonly keys: ClusterKeys;
  readonly store: FencedStore;
  /** Loads the persisted world, the entries it was made from, and the revision they stood at. */
  readonly load: (before: World | undefined) => Promise<LoadedCluster>;
  /** The time and the term for records of the audit. */
  readonly auditStamp: () => AuditStamp;
  /** Whether a key stands in etcd. */
  readonly exists: (key: string) => Promise<boolean>;
  /** A rollout has become final. */
  readonly ended: () => void;
  /** Whether wishes wait that were not taken yet. */
  readonly wishesWait: () => boolean;
  /** Takes the wishes that wait; they come before everything else. */
  readonly urgent: () => Promise<void>;
  /** Up to which revision every wish was taken. */
  readonly intentsRevision: () => bigint;
  /** Writes that ride along with the next ones: what the leader saw of the nodes. */
  readonly sideWrites: (before: World, after: World, lookup: Lookup) => WriteGroup[];
  readonly nowMs: () => number;
  readonly run: (effect: Effect, world: World) => void;
  readonly log: Logger;
}

/** What is taken together: events for the engine, and writes that belong with what it decides. */
export interface Batch {
  readonly events: readonly EngineEvent[];
  readonly writes: WriteGroup;
}

/** A wish that is being taken. */
export interface WaitingWish {
  /** Where it stands in etcd until it is taken. */
  readonly key: string;
  /** What its transaction creates. */
  readonly doneKey: string;
  /** What it comes to in the world as it is now. */
  readonly batch: () => Promise<Batch>;
}

/** Something for the queue: an event, or a piece of work that must not run beside a batch. */
type Item = { readonly event: EngineEvent } | { readonly work: () => Promise<void> };

/**
 * Milliseconds that news which nobody waits for may stand in the queue: how far a command is, and what a
 * node says of itself. Gathered they cost one write instead of one each, and a write beside the work of a
 * node makes both wait for the disk; whatever else comes takes them along. The first word of a node that is
 * out is waited for: a new leader adopts it then.
 */
const gatherMs = 100;
const patientKinds: readonly EngineEvent['kind'][] = ['progress', 'observed'];

/** Reloads of one batch before the leader gives the lead up. */
const reloadsMax = 20;

export class RunLoop {
  private queue: Item[] = [];
  private raw = new Map<string, EtcdEntry>();
  private current: World | undefined;
  /** Up to which revision this leader knows what stands under slots/. */
  private slotsRevision = 0n;
  /** Of its last load or write. */
  private revision = 0n;
  private labelsRevision = 0n;
  /** Up to which revision a node was taken off the list by this leader. */
  private removedRevision = 0n;
  private auditHead = emptyHead;
  private running: Promise<void> | undefined;
  private gathering: NodeJS.Timeout | undefined;
  private readonly failed: (error: PlexiError) => void;
  private stopped = false;

  constructor(
    private readonly parts: RunLoopParts,
    onFailure: (error: PlexiError) => void,
  ) {
    this.failed = onFailure;
  }

  /** The world as it was persisted last. */
  get world(): World {
    if (this.current === undefined) throw new Error('the loop has not loaded its world');
    return this.current;
  }

  /** The number of the last audit record. */
  get auditSequence(): number {
    return this.auditHead.sequence;
  }

  async load(): Promise<void> {
    const { world, entries, revision, auditHead } = await this.parts.load(this.current);
    this.raw = new Map(entries.map((entry) => [entry.key, entry]));
    this.current = isOver(world) ? { ...world, rollout: undefined } : world;
    this.slotsRevision = revision;
    this.revision = revision;
    this.labelsRevision = revision;
    this.auditHead = auditHead;
  }

  /** The raw entry of a key, as this leader loaded or wrote it. */
  readonly lookup: Lookup = (key) => this.raw.get(key);

  /** Takes note of node specs, which replicas write. */
  rememberSpecs(entries: readonly EtcdEntry[]): void {
    for (const entry of entries) {
      // The mirror may be behind what this leader wrote itself.
      if (entry.modRevision > (this.raw.get(entry.key)?.modRevision ?? 0n)) this.raw.set(entry.key, entry);
    }
  }

  /**
   * Takes note of the nodes' labels, as they stood at a revision, and of nodes that came to the list with them:
   * those are found here, against what this leader has stored, because a node may be removed and let back
   * before the leader hears that its removal is stored. Within scheduled work.
   */
  async takeLabels(labels: World['labels'], revision: bigint): Promise<void> {
    if (this.areOlder(revision)) return;
    const joined = [...labels.keys()].filter((node) => !this.world.labels.has(node));
    if (joined.length > 0) await this.take(joined.map((node) => ({ kind: 'joined', node })));
    // A load on the way may have brought newer ones.
    if (this.areOlder(revision)) return;
    this.current = { ...this.world, labels };
    this.labelsRevision = revision;
  }

  /** What others wrote must not bring back a node that this leader has removed since. */
  private areOlder(revision: bigint): boolean {
    return revision < this.labelsRevision || revision < this.removedRevision;
  }

  /** Puts an event into the queue. */
  emit(event: EngineEvent): void {
    this.push({ event });
  }

  /** Puts a piece of work into the queue; it runs between two batches. */
  schedule(work: () => Promise<void>): void {
    this.push({ work });
  }

  stop(): void {
    this.stopped = true;
    clearTimeout(this.gathering);
    this.queue = [];
  }

  /** Takes events at once, within scheduled work. */
  async take(events: readonly EngineEvent[]): Promise<void> {
    const batch = { events, writes: { operations: [], guards: [] } };
    await this.takeBatch(
      async () => batch,
      async () => false,
    );
  }

  /**
   * Stores what belongs to no decision, within scheduled work.
   * @param doneKey a key that these writes create: if it stands after a reload, they were committed. Without
   *   one they are made again then
   */
  async record(writes: WriteGroup, doneKey: string | undefined): Promise<void> {
    const { exists } = this.parts;
    await this.takeBatch(
      async () => ({ events: [], writes }),
      async () => doneKey !== undefined && (await exists(doneKey)),
    );
  }

  /**
   * Takes a wish at once, within scheduled work. What was true when it was looked at first need not be true
   * in the state that another writer left behind, so it is looked at anew after each reload; and then the
   * wish may be over: a write whose answer was lost had been committed, or nobody wishes it any more.
   */
  async takeWish({ key, doneKey, batch }: WaitingWish): Promise<void> {
    const { exists } = this.parts;
    await this.takeBatch(batch, async () => (await exists(doneKey)) || !(await exists(key)));
  }

  private async takeBatch(batch: () => Promise<Batch>, isDone: () => Promise<boolean>): Promise<void> {
    const heard: EngineEvent[] = [];
    for (let reloads = 0; reloads <= reloadsMax && !this.stopped; reloads++) {
      await this.parts.urgent();
      const { events: asked, writes } = await batch();
      // What came while the try before failed: nothing is decided on less than is known by now.
      if (reloads > 0) heard.push(...this.nextEvents());
      const events = [...asked, ...heard];
      // The slot of a node that is taken off the list goes to another one only once that is stored.
      const isRemoval = events.some(({ kind }) => kind === 'removed');
      const before = { ...this.world, holdStarts: this.parts.wishesWait() || isRemoval };
      const { world, effects } = advance(before, events, this.parts.nowMs());
      if (await this.isPersisted(before, world, writes)) {
        if (isRemoval) this.removedRevision = this.revision;
        this.current = isOver(world) ? { ...world, rollout: undefined } : world;
        for (const effect of effects) this.parts.run(effect, world);
        if (isOver(world)) this.parts.ended();
        if (before.rollout === undefined && world.rollout !== undefined) await this.follow();
        return;
      }
      // Before the load: what is stored between the two must not be missed by it.
      const done = await isDone();
      await this.load();
      if (done) {
        this.queue.unshift(...heard.map((event) => ({ event })));
        return;
      }
    }
    if (!this.stopped)
      throw new PlexiError(
        'CONFLICT',
        'the state in etcd changes under the leader; somebody else writes to it',
      );
  }

  /** What follows from a start is decided once it is in force, and on the records that were written before. */
  private async follow(): Promise<void> {
    await this.load();
    this.emit({ kind: 'tick' });
  }

  /** Whether it is stored; after an error the state is loaded anew, for whoever can go on from that. */
  private async isPersisted(before: World, after: World, writes: WriteGroup): Promise<boolean> {
    try {
      return await this.persist(before, after, writes);
    } catch (thrown) {
      if (thrown instanceof PlexiError && thrown.code === 'LIMIT_EXCEEDED') await this.load();
      throw thrown;
    }
  }

  private push(item: Item): void {
    if (this.stopped) return;
    if (this.queue.length >= limits.engineQueue) {
      this.failed(
        new PlexiError('LIMIT_EXCEEDED', 'the leader cannot keep up with its nodes; it gives up the lead'),
      );
      return;
    }
    this.queue.push(item);
    if (this.gathering === undefined || !this.isPatient(item)) this.run();
  }

  private isPatient(item: Item): boolean {
    if (!('event' in item) || !patientKinds.includes(item.event.kind)) return false;
    const { current } = this;
    if (item.event.kind !== 'observed' || current === undefined) return true;
    const { node } = item.event;
    if (slotOf(current.slots, node) === undefined) return true;
    return viewOf(current, node).reachable && !isAwaitedReport(current, node);
  }

  /** Takes up the queue: at once when something in it is urgent, else when its time is over. */
  private run(): void {
    if (this.running !== undefined || this.queue.length === 0 || this.stopped) return;
    if (this.queue.every((item) => this.isPatient(item)))
      this.gathering ??= setTimeout(() => this.begin(), gatherMs);
    else this.begin();
  }

  private begin(): void {
    clearTimeout(this.gathering);
    this.gathering = undefined;
    this.running ??= this.drain().finally(() => {
      this.running = undefined;
      this.run();
    });
  }

  private async drain(): Promise<void> {
    await Promise.resolve();
    try {
      do {
        const first = this.queue[0];
        if (first !== undefined && 'work' in first) {
          this.queue.shift();
          await first.work();
        } else {
          await this.take(this.nextEvents());
        }
      } while (!this.stopped && !this.queue.every((item) => this.isPatient(item)));
    } catch (thrown) {
      this.failed(asPlexiError(thrown, 'INTERNAL', 'the leader could not go on'));
    }
  }

  /** The events up to the next piece of work; of many only some, so that the lease is renewed between them. */
  private nextEvents(): EngineEvent[] {
    const events: EngineEvent[] = [];
    for (let item = this.queue[0]; item !== undefined && 'event' in item; item = this.queue[0]) {
      if (events.length >= limits.engineEventsAtOnce) break;
      events.push(item.event);
      this.queue.shift();
    }
    return events;
  }

  /** Whether the change is in etcd now; false: nobody knows, or a guard failed. */
  private async persist(before: World, after: World, extra: WriteGroup): Promise<boolean> {
    const seen = {
      slots: this.slotsRevision,
      intents: this.parts.intentsRevision(),
      labels: this.labelsRevision,
    };
    const groups = [
      ...this.parts.sideWrites(before, after, this.lookup),
      ...changedGroups(this.parts.keys, before, after, this.lookup, seen),
    ];
    for (const { operations, guards, audit = [] } of transactionsOf(groups, extra)) {
      const record = appendAudit(this.parts.keys, this.auditHead, audit, this.parts.auditStamp());
      const compares = [...sinceOwnWrites(guards, this.parts.keys, this.slotsRevision), ...record.guards];
      const revision = await this.write([...operations, ...record.operations], compares);
      if (revision === undefined) return false;
      this.revision = revision;
      if (compareSlots(guards, this.parts.keys)) this.slotsRevision = revision;
      this.auditHead = record.head;
      this.remember(operations, revision);
    }
    return true;
  }

  private remember(operations: readonly EtcdOperation[], revision: bigint): void {
    for (const operation of operations) {
      const { key } = operation;
      // A replica may have let a node back before the answer to its removal came.
      if ((this.raw.get(key)?.modRevision ?? 0n) > revision) continue;
      const createRevision = this.raw.get(key)?.createRevision ?? revision;
      if (operation.kind === 'delete') this.raw.delete(key);
      else
        this.raw.set(key, { key, value: operation.value, createRevision, modRevision: revision, lease: '0' });
    }
  }

  private async write(
    operations: readonly EtcdOperation[],
    guards: readonly EtcdCompare[],
  ): Promise<bigint | undefined> {
    try {
      const revision = await this.parts.store.write(operations, guards);
      return revision === 'raced' ? undefined : revision;
    } catch (thrown) {
      if (!(thrown instanceof PlexiError) || thrown.code !== 'STORE_UNAVAILABLE') throw thrown;
      this.parts.log.warn({ err: thrown }, 'a write to etcd has an unknown end; the state is loaded anew');
      return undefined;
    }
  }
}

function isOver(world: World): boolean {
  return world.rollout !== undefined && isFinal(world.rollout.phase);
}

/** Whether one good report is all that a node's soak still needs. */
function isAwaitedReport({ rollout }: World, node: string): boolean {
  return rollout?.nodes.get(node)?.state.phase === 'soaking' && rollout.plan.header.policy.soakMs === 0;
}
