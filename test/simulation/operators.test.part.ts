/**
 * What people say in a history: one rollout after the other (forward, back, the same again after a partial
 * end, some of the nodes only), and between it and beside it pauses, retries, maintenance by hand, holds,
 * freezes, and nodes that are taken off the list and come back. They see what a replica would show them.
 */
import { isStuck } from '../../controller/rollout/budget.js';
import type { Rollout } from '../../controller/rollout/rollout.js';
import type { World } from '../../controller/rollout/world.js';
import { readNodes } from '../../controller/state/node-store.js';
import type { ModelChange, ModelEtcd } from '../scenarios/model-etcd.test.part.js';
import { keys } from '../scenarios/model-leader.test.part.js';
import type { SimulatedAgent } from './agent.test.part.js';
import type { Asked } from './asked.test.part.js';
import type { Clock } from './clock.test.part.js';
import { epochMs } from './controller.test.part.js';
import type { Drawn, Round } from './drawn.test.part.js';
import { versions } from './host.test.part.js';
import { Random } from './random.test.part.js';

/** Milliseconds between two looks of an operator at what does not go on by itself. */
const lookMs = 5_000;
/** How often a rollout is asked for that is refused, before the next one is. */
const asksMax = 4;

/** What the people know of. */
export interface Scene {
  readonly etcd: ModelEtcd;
  readonly clock: Clock;
  readonly drawn: Drawn;
  readonly world: () => World;
  readonly isCalm: () => boolean;
  readonly agents: ReadonlyMap<string, SimulatedAgent>;
  /** Its host is gone for good, as everybody knows by now. */
  readonly isGone: (node: string) => boolean;
  /** Starts an agent again. */
  readonly restart: (agent: SimulatedAgent) => void;
  /** Hears of each word that is in force. */
  readonly count: (fault: string) => void;
  /** Hears the reason of each word for the active rollout. */
  readonly said: (reason: string) => void;
  /** Hears of nodes that somebody made something else than they were. */
  readonly changed: { add(node: string): void };
}

export class Operators {
  /** Nodes that somebody left out of the rollout that is active, or was last. */
  readonly leftOut = new Set<string>();
  private readonly rounds: Round[];
  private readonly random: Random;
  /** Apart, so that they change nothing where nobody needs them. */
  private readonly confirms: Random;
  private said = 0;
  private asked = 0;
  /** The wish for a rollout that nobody has answered yet. */
  private waitsFor: string | undefined;
  private last: Rollout | undefined;
  private looks = 0;
  /** Words that are counted as what they stand for, once they are in force. */
  private readonly untold = new Map<string, string>();
  /** By the id of the request. */
  private readonly asks = new Map<string, Asked>();

  constructor(private readonly scene: Scene) {
    this.rounds = [...scene.drawn.rounds];
    this.random = new Random(scene.drawn.seed, 'operators');
    this.confirms = new Random(scene.drawn.seed, 'confirms');
    scene.etcd.listen(({ changed }) => {
      this.countTaken(changed);
      const key = this.waitsFor === undefined ? undefined : keys.outcome(this.waitsFor);
      const value = key === undefined ? undefined : changed.get(key)?.value;
      if (value !== undefined) this.answered(value);
    });
  }

  /** A word that was refused had no effect. */
  private countTaken(changed: ModelChange['changed']): void {
    for (const [n, fault] of this.untold) {
      const value = changed.get(keys.outcome(n))?.value;
      if (value === undefined) continue;
      this.untold.delete(n);
      if (value.includes('"error":null')) this.scene.count(fault);
    }
  }

  /** Begins with the first rollout. */
  start(): void {
    this.askLater();
    this.scene.clock.after(lookMs, () => this.look(), null);
  }

  /** Nothing more will be asked for, and nothing is kept from going on. */
  get isDone(): boolean {
    const { etcd } = this.scene;
    const isKept = [...this.scene.world().slots].some(
      ([key, slot]) => !isStuck(key) && slot.maintenance !== null,
    );
    const isHeld = etcd.under(keys.nodes).some(({ key }) => key.endsWith('/hold'));
    const isOrdered = etcd
      .under(keys.nodes)
      .some(({ key, value }) => key.endsWith('/order') && value.includes('"open"'));
    const isWished = etcd.under(keys.intents).length > 0;
    return (
      this.rounds.length === 0 && this.waitsFor === undefined && !isKept && !isHeld && !isOrdered && !isWished
    );
  }

  /** A rollout has begun, or ended. */
  began(): void {
    this.leftOut.clear();
  }

  ended(rollout: Rollout): void {
    this.last = rollout;
    if (this.rounds.length > 0) this.askLater();
  }

  /** A word for the rollout that is active. @returns whether there is one */
  wish(how: number, node: string): boolean {
    const words = ['pause', 'resume', 'pause', 'abort', 'retry', 'skip', 'resume', 'retry'] as const;
    const word = words[how % words.length] ?? 'pause';
    const meant = this.failed() ?? node;
    switch (word) {
      case 'retry':
      case 'skip':
        return this.tell(word, { node: meant });
      case 'abort':
        return this.tell(word, { rollback: how % 3 > 0 });
      default:
        return this.tell(word);
    }
  }

  /** Takes a node out of service, and puts it back later. */
  maintain(node: string, forMs: number): void {
    this.untold.set(this.say('maintenance', { node, on: true }), 'maintenance');
    this.scene.clock.after(forMs, () => this.say('maintenance', { node, on: false }), null);
  }

  hold(node: string, forMs: number): void {
    this.untold.set(this.say('hold', { node, on: true }), 'hold');
    this.scene.clock.after(forMs, () => this.say('hold', { node, on: false }), null);
  }

  freeze(forMs: number): void {
    this.untold.set(this.say('freeze', { on: true }), 'freeze');
    this.scene.clock.after(forMs, () => this.say('freeze', { on: false }), null);
  }

  /** Takes a node off the list, one that needs an operator or cannot be reached before any other. */
  remove(node: string, forMs: number): void {
    const stuck = [...this.scene.world().slots].find(([key]) => isStuck(key))?.[1].node;
    const meant = stuck ?? this.nodes().find(({ status }) => status?.unknown)?.id ?? node;
    this.untold.set(this.say('remove', { node: meant }), 'remove');
    this.scene.clock.after(forMs, () => this.add(meant), null);
  }

  /** Puts a node right that needs an operator, and says what it runs then. @returns whether there is one */
  confirm(how: number): boolean {
    const stuck = [...this.scene.world().slots].flatMap(([key, { node }]) => (isStuck(key) ? [node] : []));
    const node = stuck[how % Math.max(1, stuck.length)];
    if (node === undefined) return false;
    const agent = this.scene.agents.get(node);
    const before = agent?.release;
    const release =
      agent === undefined || !agent.process.alive ? undefined : agent.putRight(how % 3 === 0 ? 'old' : 'new');
    if (release === undefined) return false;
    if (release.digest !== before?.digest) this.scene.changed.add(node);
    this.leftOut.add(node);
    const order = { node, order: 'confirm', version: release.version, directory: '' };
    this.untold.set(this.say('order', order), 'confirm');
    return true;
  }

  /** A node that was taken off the list is let in again. */
  private add(node: string): void {
    const { etcd } = this.scene;
    const key = keys.nodeSpec(node);
    const spec: { removed: boolean } | undefined = JSON.parse(etcd.get(key)?.value ?? 'null') ?? undefined;
    if (spec?.removed !== true) return;
    const value = { ...spec, fingerprint: '', installId: '', counter: '0', removed: false };
    etcd.transact(
      [],
      [
        { kind: 'put', key, value: JSON.stringify(value) },
        { kind: 'put', key: keys.labels, value: JSON.stringify({ changed: node }) },
      ],
    );
  }

  private askLater(): void {
    const [round] = this.rounds;
    if (round !== undefined) this.scene.clock.after(round.afterMs, () => this.ask(round), null);
  }

  /** Some replica stores the wish for the next rollout. */
  private ask(round: Round): void {
    if (round !== this.rounds[0] || this.waitsFor !== undefined || this.scene.world().rollout !== undefined)
      return;
    this.asked += 1;
    const { last } = this;
    const requestId = `request ${this.said + 1}`;
    if (round.way === 'back' && last !== undefined && this.asked % 2 === 1) {
      this.asks.set(requestId, { kind: 'rollback', of: last });
      this.waitsFor = this.say('rollback', { requestId, rollout: last.id });
      return;
    }
    const request = this.request(round);
    this.asks.set(requestId, { kind: 'start', request });
    this.waitsFor = this.say('start', { requestId, planDigest: '', request });
  }

  /** What was asked by a request. */
  askedBy(requestId: string): Asked | undefined {
    return this.asks.get(requestId);
  }

  /** Whoever cannot be reached is left out; what is not healthy may be updated in spite of that. */
  private request(round: Round) {
    const nodes = this.nodes();
    const running = nodes.map(({ status }) => status?.version);
    const isNew = running.filter((version) => version === versions.new).length * 2 > nodes.length;
    // After a partial end the same once more, or back to what was before.
    const isMixed = running.includes(versions.new) && running.includes(versions.old);
    const isUp = isMixed ? round.part % 2 === 0 : isNew === (round.what === 'restart');
    const to = isUp ? versions.new : versions.old;
    const stuck = [...this.scene.world().slots].filter(([key]) => isStuck(key)).map(([, { node }]) => node);
    const unknown = nodes
      .filter(({ id, status }) => status?.unknown !== false || stuck.includes(id))
      .map(({ id }) => id);
    const some = nodes.map(({ id }) => id).filter((_, index) => (round.part >> (index % 8)) % 2 === 0);
    const isSome = round.isSubset && some.length > 0;
    return {
      ...{ to, downgrade: to === versions.old, maxConcurrent: round.maxConcurrent, canary: round.canary },
      ...{ restart: round.what === 'restart', stageOnly: round.what === 'stage_only' },
      ...{ canarySelector: '', selectors: [], nodes: isSome ? some : [] },
      ...{ exclude: this.asked > 1 ? unknown : [], force: this.asked > 2, reason: 'the next one' },
    };
  }

  private answered(value: string): void {
    const { rollout }: { rollout: string | null } = JSON.parse(value);
    this.waitsFor = undefined;
    if (rollout === null && this.asked < asksMax) {
      this.scene.clock.after(lookMs, () => this.askLater(), null);
      return;
    }
    this.rounds.shift();
    this.asked = 0;
    if (rollout === null) this.askLater();
  }

  /** Lets go on what waits for a person; without faults it always comes to that, with faults now and then. */
  private look(): void {
    this.scene.clock.after(lookMs, () => this.look(), null);
    const isCalm = this.scene.isCalm();
    if (!isCalm && !this.random.isIt(0.25)) return;
    this.looks += 1;
    for (const agent of this.scene.agents.values()) if (agent.isBroken) this.scene.restart(agent);
    const { rollout } = this.scene.world();
    if (rollout?.course.kind === 'paused') this.goOn(this.looks % 3);
    if (isCalm) this.letGo();
    if (isCalm && this.random.isIt(0.2)) this.confirm(this.random.between(0, 999));
    else if (!isCalm && this.confirms.isIt(0.4)) this.confirm(this.confirms.between(0, 999));
  }

  private goOn(turn: number): void {
    const failed = this.failed();
    if (turn === 2 && this.random.isIt(0.5)) this.tell('abort', { rollback: this.random.isIt(0.5) });
    else if (failed !== undefined && turn === 1) this.tell('retry', { node: failed });
    else this.tell('resume');
  }

  /** Nobody keeps anything back any longer. What is out and has no slot is the product's to see to. */
  private letGo(): void {
    const { etcd } = this.scene;
    const { slots } = this.scene.world();
    for (const { node, maintenance, rollout } of slots.values()) {
      if (maintenance === null || rollout !== '') continue;
      if (this.scene.isGone(node)) this.say('remove', { node });
      else this.say('maintenance', { node, on: false });
    }
    // An order to a host that is gone is never carried out.
    for (const { key, value } of etcd.under(keys.nodes)) {
      const node = key.slice(keys.nodes.length, -'/order'.length);
      if (key.endsWith('/order') && value.includes('"open"') && this.scene.isGone(node))
        this.say('remove', { node });
    }
    for (const { key } of etcd.under(keys.nodes)) {
      if (key.endsWith('/hold')) this.say('hold', { node: key.slice(keys.nodes.length, -5), on: false });
    }
    if (etcd.get(keys.freeze) !== undefined) this.say('freeze', { on: false });
    // A group that has lost a member for good waits for good, and says so.
    if (this.scene.drawn.places.minAvailable !== null)
      for (const node of this.scene.agents.keys()) if (!this.scene.isGone(node)) this.add(node);
  }

  /** A node that failed and went back, which may be tried again or left out. */
  private failed(): string | undefined {
    const nodes = [...(this.scene.world().rollout?.nodes.values() ?? [])];
    return nodes.find(({ state, error }) => state.phase === 'rolled_back' && error !== null)?.id;
  }

  private nodes() {
    return readNodes(keys, this.scene.etcd.under(keys.nodes)).filter(({ spec }) => !spec.removed);
  }

  private tell(kind: string, more: object = {}): boolean {
    const { rollout } = this.scene.world();
    if (rollout === undefined) return false;
    if (kind === 'skip' && 'node' in more) this.leftOut.add(String(more.node));
    const n = this.number();
    this.untold.set(n, 'wish');
    this.scene.said(`${kind} ${n}`);
    this.scene.etcd.put(keys.rolloutIntent(rollout.id, n), this.intent(kind, more));
    return true;
  }

  private say(kind: string, more: object): string {
    const n = this.number();
    this.scene.etcd.put(keys.intent(n), this.intent(kind, more));
    return n;
  }

  private number(): string {
    this.said += 1;
    return String(this.said);
  }

  private intent(kind: string, more: object): object {
    const at = new Date(epochMs + this.scene.clock.nowMs).toISOString();
    return { kind, by: 'operator', at, reason: `${kind} ${this.said}`, ...more };
  }
}
