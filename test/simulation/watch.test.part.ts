/**
 * Everything that must hold in a history, told from etcd as it is and from the nodes as they are. What
 * is broken is kept, and ends the history. Numbers are those of GUARANTEES.md.
 */
import assert from 'node:assert/strict';
import type { PlexiError } from '../../config/errors.js';
import type { EtcdCompare, EtcdOperation } from '../../controller/leadership/etcd.js';
import { isStuck, slotOf } from '../../controller/rollout/budget.js';
import { isManual, manualCommandId } from '../../controller/rollout/manual.js';
import { orderCommandId } from '../../controller/rollout/orders.js';
import { isFinal, type Rollout } from '../../controller/rollout/rollout.js';
import type { World } from '../../controller/rollout/world.js';
import { readNode, readOrder, readSlot, readState } from '../../controller/state/codec.js';
import { loadWorld } from '../../controller/state/load-world.js';
import type { AdoptRequest, Command, CommandResult, Token } from '../../gen/plexi/v1/node_agent.js';
import { compareTokens } from '../../node-agent/api/fence.js';
import { takeOverStep } from '../../node-agent/takeover/take-over.js';
import type { PhaseContext } from '../../node-agent/upgrade/phase.js';
import { Deeds } from '../scenarios/deeds.test.part.js';
import {
  checkContainment,
  checkGuards,
  checkPlaces,
  heldSlots,
  maxOf,
} from '../scenarios/invariants.test.part.js';
import type { ModelChange, ModelEtcd } from '../scenarios/model-etcd.test.part.js';
import { keys } from '../scenarios/model-leader.test.part.js';
import { Told } from '../scenarios/reasons.test.part.js';
import type { AgentWatch, SimulatedAgent, WrittenRecord } from './agent.test.part.js';
import type { Clock } from './clock.test.part.js';
import { epochMs, type LeaderWatch } from './controller.test.part.js';
import { wrongCourse } from './course.test.part.js';
import type { Drawn } from './drawn.test.part.js';

/** A promise that was not kept. */
export interface Broken {
  readonly guarantee: number;
  readonly sentence: string;
}

/** What is known of a node beyond what it says. */
interface Record {
  /** The highest token that a restart does not forget, and the highest at all. */
  kept: Token;
  highest: Token;
  open: string | undefined;
  /** A look at what runs takes nothing out of service. */
  isLook: boolean;
  isOfRollout: boolean;
  /** The steps of the open job, in the order in which they began. */
  steps: string[];
  isCommitted: boolean;
  readonly finished: Set<string>;
  /** The rollouts that have begun to change it. */
  readonly touchedBy: Set<string>;
}

const lowest: Token = { epoch: 0n, term: 0n, seq: 0n };

export class Watch implements AgentWatch, LeaderWatch {
  broken: Broken | undefined;
  world: World;
  /** The rollout that is in force, or was last. */
  rollout = '';
  /**
   * Taken off the list of nodes: its slot went with it, and what was sent to it before may still take it out.
   * Back on the list it gets one again when a leader adopts it, which is over once its status says so: the slot
   * stands before that.
   */
  private readonly away = new Set<string>();
  private readonly records = new Map<string, Record>();
  private readonly storedCommands = new Set<string>();
  /** By the key of the node's record. */
  private readonly openCommands = new Map<string, string>();
  private readonly lost = new Set<string>();
  /** Since when a node's record says that it cannot be reached. */
  private readonly silentSinceMs = new Map<string, number>();
  private readonly closedCommands = new Set<string>();
  private readonly attempts = new Map<string, number>();
  private readonly adoptedBy = new Set<string>();
  /** Terms whose lease ended because nobody renewed it. */
  private readonly outlived = new Set<bigint>();
  private readonly lastSeq = new Map<string, bigint>();
  /** What was said of the rollout that is in force, or was last. */
  said = new Told();
  /** What the audit record must tell. */
  readonly deeds = new Deeds();

  constructor(
    private readonly etcd: ModelEtcd,
    private readonly agents: ReadonlyMap<string, SimulatedAgent>,
    private readonly clock: Clock,
    private readonly drawn: Drawn,
    /** Hears of a rollout that is in force now, and of one that has just ended. */
    private readonly hear: { began(rollout: Rollout): void; ended(rollout: Rollout): void },
  ) {
    this.world = this.load();
    etcd.listen((change) => this.changed(change));
  }

  /** Leases are about to end by their time. */
  expiring(): void {
    const leader = this.etcd.get(keys.leader);
    if (leader !== undefined && this.etcd.isOver(leader.lease, this.clock.nowMs))
      this.outlived.add(leader.createRevision);
    this.etcd.expire(this.clock.nowMs);
  }

  /** Whether the rollout, or without one any at all, has begun to change the node. */
  isTouched(node: string, rollout = this.rollout): boolean {
    return this.recordOf(node).touchedBy.has(rollout);
  }

  /** Whether its journal holds a rollout's job open, which may change what it runs. */
  isChanging(node: string): boolean {
    const { open, isOfRollout } = this.recordOf(node);
    return open !== undefined && isOfRollout;
  }

  wrong(sentence: string, guarantee = 0): void {
    this.broken ??= { guarantee, sentence };
  }

  /** The agent's process is gone, and with it what only its memory knew. */
  died(node: string): void {
    const record = this.recordOf(node);
    record.highest = record.kept;
  }

  // What leaders do.

  adopting(term: bigint, agent: SimulatedAgent, { token }: AdoptRequest): void {
    this.checkSeq(term, agent.id, token);
  }

  sending(term: bigint, agent: SimulatedAgent, { commandId, token }: Command, wasPaused: boolean): void {
    this.checkSeq(term, agent.id, token);
    this.deeds.sent(agent.id, commandId);
    if (!wasPaused && this.outlived.has(term))
      this.wrong(`term ${term} sends ${commandId}, and its lease has ended by its own time`, 2);
    if (!this.storedCommands.has(commandId)) this.wrong(`${commandId} is sent, and was never stored`, 6);
    if (!this.adoptedBy.has(`${term} ${agent.id}`))
      this.wrong(`${commandId} is sent by term ${term}, which has not adopted ${agent.id}`, 2);
  }

  // What nodes do.

  adopted(agent: SimulatedAgent, { token }: AdoptRequest): void {
    this.adoptedBy.add(`${token?.term} ${agent.id}`);
    this.actOn(agent.id, token, 'an adoption', true);
    if (token !== undefined && compareTokens(agent.storedToken, token) < 0)
      this.wrong(
        `${agent.id} says that it is adopted with (${token.term}, ${token.seq}), and has not stored that`,
        2,
      );
  }

  admitted(agent: SimulatedAgent, { commandId, token, step }: Command): void {
    const isStored = step?.$case !== 'preflight' && step?.$case !== 'stage';
    // A job's token counts from its record on, which came before.
    if (step?.$case !== 'upgrade' && step?.$case !== 'maintenance' && step?.$case !== 'takeOver')
      this.actOn(agent.id, token, commandId, isStored);
  }

  refused(agent: SimulatedAgent, { commandId }: Command, { code, message }: PlexiError): void {
    this.deeds.refused(commandId, code, message);
    if (code === 'COMMAND_CONFLICT')
      this.wrong(`${commandId} changed on its way to ${agent.id}: ${message}`, 9);
    if ((code === 'INTERNAL' && !message.includes('EIO')) || code === 'JOURNAL_UNREADABLE')
      this.wrong(`${agent.id} refuses ${commandId} with ${code}: ${message}`);
  }

  told(agent: SimulatedAgent, { commandId, step }: Command, { outcome, failure }: CommandResult): void {
    const isJob = step?.$case === 'upgrade' || step?.$case === 'maintenance' || step?.$case === 'takeOver';
    if (!isJob) this.deeds.ended(commandId, outcome, failure?.message);
    else if (!this.recordOf(agent.id).finished.has(commandId))
      this.wrong(`the result of ${commandId} is told before it is on the disk of ${agent.id}`, 9);
  }

  journaled(agent: SimulatedAgent, written: WrittenRecord): void {
    const { kind, commandId, command, token, step = '' } = written;
    const record = this.recordOf(agent.id);
    if (record.finished.has(commandId)) this.wrong(`${commandId} goes on after its end on ${agent.id}`, 9);
    if (kind === 'finished') {
      this.deeds.ended(commandId, written.result?.outcome ?? '', written.result?.failure?.message);
      this.checkBack(agent, record, written);
      record.finished.add(commandId);
      record.open = undefined;
    }
    if (kind === 'step') {
      record.steps.push(step);
      if (written.committed === true && !record.steps.includes('probe'))
        this.wrong(`${commandId} commits on ${agent.id} before its health was seen`, 7);
      record.isCommitted ||= written.committed === true;
    }
    if (kind === 'going_back') record.steps.push(step);
    if (kind === 'going_back' && record.isCommitted)
      this.wrong(`${agent.id} goes back by itself after ${commandId} committed`, 3);
    if (kind !== 'accepted' || token === undefined) return;
    record.steps = [step];
    record.isCommitted = false;
    if (record.open !== undefined) this.wrong(`${commandId} begins beside ${record.open} on ${agent.id}`, 2);
    record.open = commandId;
    record.isLook = step === takeOverStep;
    const { rolloutId } = (command ?? {}) as { rolloutId?: string };
    record.isOfRollout = rolloutId !== undefined && rolloutId !== '';
    if (rolloutId !== undefined && rolloutId !== '') record.touchedBy.add(rolloutId);
    const { epoch, term, seq } = token;
    this.actOn(agent.id, { epoch: BigInt(epoch), term: BigInt(term), seq: BigInt(seq) }, commandId, true);
    this.checkPlan(agent, commandId, command ?? {});
    this.checkOut();
  }

  /** Guarantees 3 and 7: who says that it is back runs what it ran, and was seen to be healthy on it. */
  private checkBack(agent: SimulatedAgent, { steps }: Record, { commandId, result }: WrittenRecord): void {
    if (result?.outcome !== 'rolled_back' || !steps.includes('stop')) return;
    const { service, current, data } = agent.model.state;
    if (!steps.includes('probe_old'))
      this.wrong(`${commandId} is back on ${agent.id} before its health was seen`, 7);
    if (service !== 'down' && (service !== current || data !== current))
      this.wrong(`${commandId} is back on ${agent.id}, which is a mix`, 3);
  }

  step(agent: SimulatedAgent, { job, order }: PhaseContext, step: string): void {
    if (this.recordOf(agent.id).finished.has(job.commandId))
      this.wrong(`${job.commandId} is executed again on ${agent.id}, at ${step}`, 9);
    if (step !== 'migrate' && step !== 'restore') return;
    const { model } = agent;
    if (!order.backup || model.state.backup !== 'whole' || model.backupOf !== job.commandId)
      this.wrong(`${job.commandId} comes to ${step} on ${agent.id} without a backup of its own`, 5);
  }

  /** Guarantee 3: what serves fits the data, at every moment. */
  checkNodes(): void {
    for (const { id, model } of this.agents.values()) {
      const { service, current, data } = model.state;
      if (data === 'spoilt') this.wrong(`a migration ran twice on ${id}`, 5);
      if (service !== 'down' && (service !== current || service !== data))
        this.wrong(`${id} is a mix: ${JSON.stringify(model.state)}`, 3);
    }
  }

  private recordOf(node: string): Record {
    const known = this.records.get(node);
    if (known !== undefined) return known;
    const record: Record = {
      ...{
        kept: lowest,
        highest: lowest,
        open: undefined,
        isLook: false,
        isOfRollout: false,
        steps: [],
        isCommitted: false,
      },
      ...{ finished: new Set<string>(), touchedBy: new Set<string>() },
    };
    this.records.set(node, record);
    return record;
  }

  /** Guarantee 2. */
  private actOn(node: string, token: Token | undefined, what: string, isKept: boolean): void {
    const record = this.recordOf(node);
    if (token === undefined || compareTokens(token, record.highest) < 0) {
      const seen = `(${record.highest.term}, ${record.highest.seq})`;
      this.wrong(`${node} acts on ${what} with (${token?.term}, ${token?.seq}), and has seen ${seen}`, 2);
      return;
    }
    if (isKept || token.term !== record.kept.term) record.kept = token;
    record.highest = token;
  }

  private checkSeq(term: bigint, node: string, token: Token | undefined): void {
    const place = `${term} ${node}`;
    const last = this.lastSeq.get(place) ?? 0n;
    if (token === undefined || token.term !== term || token.seq <= last)
      this.wrong(`term ${term} calls ${node} with (${token?.term}, ${token?.seq}) after seq ${last}`, 2);
    this.lastSeq.set(place, token?.seq ?? last);
  }

  /** Guarantee 6: a node is moved only from where the plan found it. */
  private checkPlan(agent: SimulatedAgent, commandId: string, command: { [name: string]: unknown }): void {
    const { upgrade } = command as { upgrade?: { from?: { digest?: string } } };
    if (upgrade !== undefined && upgrade.from?.digest !== agent.release.digest)
      this.wrong(`${commandId} moves ${agent.id} from ${agent.release.version}, where its plan is not`, 6);
  }

  // What stands in etcd.

  private changed(change: ModelChange): void {
    const { changed } = change;
    const names = [...changed.keys()];
    for (const key of names) if (key.startsWith(keys.nodes) && key.endsWith('/spec')) this.lookAtSpec(key);
    for (const key of names) if (key.startsWith(keys.nodes) && key.endsWith('/order')) this.lookAtOrder(key);
    const statuses = names.filter((key) => key.startsWith(keys.nodes) && key.endsWith('/status'));
    const isAnyAdopted = statuses.filter((key) => this.lookAtStatus(key)).length > 0;
    const isOurs = (key: string): boolean =>
      key.startsWith(keys.slots) ||
      key.startsWith(keys.rollouts) ||
      key === keys.budget ||
      key === keys.active;
    if (!names.some(isOurs)) {
      if (isAnyAdopted) this.checkOut();
      return;
    }
    const before = this.world;
    const began = changed.get(keys.active)?.value;
    if (began !== undefined) {
      this.rollout = (JSON.parse(began) as { rollout: string }).rollout;
      this.said = new Told();
    }
    // The records of a large rollout are stored before it is in force.
    const records =
      began === undefined ? names : this.etcd.under(keys.rolloutNodes(this.rollout)).map(({ key }) => key);
    for (const key of records) if (key.startsWith(keys.rolloutNodes(this.rollout))) this.lookAtRecord(key);
    for (const key of names) if (key.startsWith(keys.slots)) this.lookAtSlot(key);
    this.world = began === undefined ? this.entered(names) : this.load();
    if (began !== undefined) this.begins(changed);
    try {
      this.checkBudget(before);
      checkPlaces(this.world);
    } catch (thrown) {
      this.wrong(sentenceOf(thrown), 1);
    }
    try {
      checkContainment(before, this.world);
      this.checkFailures(before);
    } catch (thrown) {
      this.wrong(sentenceOf(thrown), 7);
    }
    const wrongWay = wrongCourse(this.etcd, before, this.world, change);
    if (wrongWay !== undefined) this.wrong(wrongWay, 6);
    this.checkTaken(before);
    this.checkSpread(before);
    this.checkFreed(before);
    this.checkOut();
    const { rollout } = this.world;
    if (rollout === undefined || !isFinal(rollout.phase)) return;
    this.hear.ended(rollout);
    this.world = { ...this.world, rollout: undefined };
  }

  /** Guarantee 7, told from the ends of the nodes' own jobs that the leader has heard of. @throws AssertionError */
  private checkFailures(before: World): void {
    const { rollout } = this.world;
    if (rollout === undefined) return;
    const starts = [...rollout.nodes.values()].filter(
      ({ id, attempts }) => (attempts.upgrade ?? 0) > (before.rollout?.nodes.get(id)?.attempts.upgrade ?? 0),
    );
    if (starts.length === 0) return;
    const failed = [...rollout.nodes.values()].filter(
      ({ id, state, ended, attempts }) =>
        ended?.commandId.endsWith(`.upgrade.${attempts.upgrade}`) === true &&
        this.deeds.hasFailed(ended.commandId) &&
        !this.isConfirmed(id) &&
        !rollout.forgiven.includes(id) &&
        state.phase !== 'ready' &&
        state.phase !== 'skipped',
    );
    const { failureBudget } = this.drawn.policy;
    assert.ok(failed.length <= failureBudget, `${starts[0]?.id} starts after ${failed.length} failures`);
  }

  /** An operator has put it right since, and said so. */
  private isConfirmed(node: string): boolean {
    return this.etcd.get(keys.nodeOrder(node))?.value.includes('"done"') === true;
  }

  /** Guarantee 6: a freeze that stands lets no rollout begin but one that takes back what is wrong. */
  private begins(changed: ModelChange['changed']): void {
    const { rollout } = this.world;
    if (rollout === undefined) return;
    const freeze = changed.has(keys.freeze) ? undefined : this.etcd.get(keys.freeze);
    if (freeze !== undefined && rollout.plan.header.direction === 'forward')
      this.wrong(`${rollout.id} begins while the cluster is frozen`, 6);
    this.hear.began(rollout);
  }

  private load(): World {
    return loadWorld(keys, this.etcd.entries(), this.drawn.policy.maxConcurrent, 0n, new Map(), 0);
  }

  private lookAtSpec(key: string): void {
    const { removed }: { removed: boolean } = JSON.parse(this.etcd.get(key)?.value ?? '{}');
    if (removed) this.away.add(key.slice(keys.nodes.length, -'/spec'.length));
  }

  /** Whether a leader has just adopted a node that was let back: it answers for its slot from now on. */
  private lookAtStatus(key: string): boolean {
    const node = key.slice(keys.nodes.length, -'/status'.length);
    const value = this.etcd.get(key)?.value;
    const { joined }: { joined: boolean } = JSON.parse(value ?? '{"joined":true}');
    return !joined && this.away.delete(node);
  }

  /** Guarantee 1, once everything has come to rest: nobody waits for a node any longer that is on the list. */
  checkAdopted(gone: ReadonlySet<string>): void {
    for (const node of this.away) {
      // Nobody can adopt it; or it was adopted a moment ago, and its status does not say so yet.
      if (gone.has(node) || slotOf(this.world.slots, node) !== undefined) continue;
      const { removed }: { removed: boolean } = JSON.parse(this.etcd.get(keys.nodeSpec(node))?.value ?? '{}');
      if (!removed && this.isOut(node))
        this.wrong(
          `${node} was let back out of service, and no leader has adopted it and given it a slot`,
          1,
        );
    }
  }

  private lookAtOrder(key: string): void {
    const value = this.etcd.get(key)?.value;
    const node = key.slice(keys.nodes.length, -'/order'.length);
    if (value !== undefined) this.storedCommands.add(orderCommandId(node, readOrder(key, value)));
  }

  /** An operator's own maintenance stands in its slot alone. */
  private lookAtSlot(key: string): void {
    const value = this.etcd.get(key)?.value;
    const slot = value === undefined ? undefined : readSlot(key, value);
    if (slot === undefined) return;
    if (isStuck(key.slice(keys.slots.length)) && slot.reason === '')
      this.wrong(`${slot.node} needs an operator, and nobody says why`, 4);
    if (isManual(slot)) this.storedCommands.add(manualCommandId(slot));
  }

  /** The world with what changed in it; a plan never does, and is not read again. */
  private entered(names: readonly string[]): World {
    const { rollout } = this.world;
    const state = this.etcd.get(keys.rolloutState(this.rollout));
    if (rollout === undefined || state === undefined) return this.load();
    const { phase, reason, course, exitCode, forgiven } = names.includes(state.key)
      ? readState(state.key, state.value)
      : rollout;
    const prefix = keys.rolloutNodes(this.rollout);
    const nodes = new Map(rollout.nodes);
    const slots = new Map(this.world.slots);
    for (const key of names) {
      const value = this.etcd.get(key)?.value;
      if (key.startsWith(prefix) && value !== undefined) {
        const node = key.slice(prefix.length);
        nodes.set(node, readNode(node, key, value));
      }
      if (!key.startsWith(keys.slots)) continue;
      if (value === undefined) slots.delete(key.slice(keys.slots.length));
      else slots.set(key.slice(keys.slots.length), readSlot(key, value));
    }
    const stored = this.etcd.get(keys.budget)?.value;
    const budget: World['budget'] = stored === undefined ? this.world.budget : JSON.parse(stored);
    return {
      ...this.world,
      slots,
      budget,
      rollout: { ...rollout, phase, reason, course, exitCode, forgiven, nodes },
    };
  }

  /** Commands that were stored, and attempts, which only count up. */
  private lookAtRecord(key: string): void {
    const value = this.etcd.get(key)?.value;
    if (value === undefined) return;
    const record: {
      commandId?: string;
      attempts?: { [kind: string]: number };
      error?: { code: string; message: string } | null;
      unknownSince?: string | null;
    } = JSON.parse(value);
    const { commandId = '' } = record;
    const open = this.openCommands.get(key) ?? '';
    if (open !== '' && open !== commandId) this.closedCommands.add(open);
    if (this.closedCommands.has(commandId)) this.wrong(`${commandId} is ordered again after its end`, 9);
    this.openCommands.set(key, commandId);
    this.storedCommands.add(commandId);
    if (record.error)
      this.said.failed(key.slice(keys.rolloutNodes(this.rollout).length), record.error.message);
    const wasLost = this.lost.has(key);
    if (record.error?.code === 'NODE_LOST') this.lost.add(key);
    else this.lost.delete(key);
    if (this.lost.has(key)) this.deeds.lost(key.slice(keys.rolloutNodes(this.rollout).length));
    this.noteSilence(key, record.unknownSince ?? null);
    if (this.lost.has(key) && !wasLost) this.checkLost(key);
    for (const [kind, attempt] of Object.entries(record.attempts ?? {})) {
      const last = this.attempts.get(`${key} ${kind}`) ?? 0;
      if (attempt < last) this.wrong(`${key} counts attempt ${attempt} of ${kind} after ${last}`, 9);
      this.attempts.set(`${key} ${kind}`, attempt);
    }
  }

  /** By the true time: the clocks of leaders may be off. */
  private noteSilence(key: string, since: string | null): void {
    if (since === null && !this.lost.has(key)) this.silentSinceMs.delete(key);
    else if (since !== null && !this.silentSinceMs.has(key))
      this.silentSinceMs.set(key, Date.parse(since) - epochMs - this.drawn.skewMs(this.leader ?? ''));
  }

  /** Guarantee 10: lost is only who could not be reached for as long as the policy says. */
  private checkLost(key: string): void {
    const { unknownMaxMs } = this.drawn.policy;
    const unknownMs = this.clock.nowMs - (this.silentSinceMs.get(key) ?? this.clock.nowMs);
    if (unknownMs < unknownMaxMs) this.wrong(`${key} is called lost after ${unknownMs} ms`, 10);
  }

  /** Protocol, rule 15: what a transaction compares, before it is committed. One that is refused writes nothing. */
  transaction(guards: readonly EtcdCompare[], operations: readonly EtcdOperation[]): void {
    if (!this.etcd.allHold(guards)) return;
    try {
      checkGuards(keys, this.etcd, [{ operations, guards }]);
    } catch (thrown) {
      this.wrong(sentenceOf(thrown), 1);
    }
  }

  /** A transaction of a controller was committed: only who leads may write what the leader owns. */
  committed(
    controller: string,
    operations: readonly EtcdOperation[],
    leaderBefore: string | undefined,
  ): void {
    const own = operations.filter(({ key }) => key !== keys.leader && key !== keys.epoch);
    if (own.length === 0 || leaderBefore === controller) return;
    this.wrong(`${controller} writes ${own[0]?.key} while ${leaderBefore ?? 'nobody'} leads`, 2);
  }

  /** Who holds the leader key. */
  get leader(): string | undefined {
    const value = this.etcd.get(keys.leader)?.value;
    if (value === undefined) return undefined;
    const { id }: { id: string } = JSON.parse(value);
    return id;
  }

  /** Guarantees 6 and 1: no node starts while a wish waits that may stop it, or too many others need an operator. */
  private checkTaken(before: World): void {
    for (const [key, { node, rollout }] of this.world.slots) {
      const had = before.slots.get(key);
      if (isStuck(key) || rollout === '' || (had?.node === node && had.rollout === rollout)) continue;
      const waiting = this.etcd.under(keys.rolloutIntents(this.rollout));
      if (waiting.length > 0) this.wrong(`${node} starts while ${waiting[0]?.key} waits`, 6);
      const isForward = this.world.rollout?.plan.header.direction === 'forward';
      const isBack = this.world.rollout?.nodes.get(node)?.state.phase === 'rolling_back';
      if (isForward && !isBack && this.etcd.get(keys.nodeHold(node)) !== undefined)
        this.wrong(`${node} starts while an operator holds it`, 6);
      if (isForward && !isBack) this.checkBesideStuck(before, node);
    }
  }

  /** Guarantee 1: beyond the failure budget nodes that need an operator keep every upgrade from starting. */
  private checkBesideStuck(before: World, node: string): void {
    const stuck = [...before.slots.keys()].filter((key) => isStuck(key) && this.world.slots.has(key));
    const { failureBudget } = this.drawn.policy;
    if (stuck.length > failureBudget) this.wrong(`${node} starts beside ${stuck.join(', ')}`, 1);
  }

  /**
   * Guarantee 1: no slot beyond the budget is taken for a node that serves. A rollout that begins or ends may
   * lower the budget below what is held; none is added then until they fit again.
   */
  private checkBudget(before: World): void {
    const held = heldSlots(this.world);
    const kept = new Set(heldSlots(before).map(([, { node }]) => node));
    const isMore = held.some(([, { node }]) => !kept.has(node) && !this.isOut(node));
    // What was taken may have been taken just before the end that lowers the budget, in one transaction.
    const max = Math.max(maxOf(this.world), maxOf(before));
    if (isMore && held.length > max) this.wrong(`${held.length} slots with a budget of ${max}`, 1);
  }

  /**
   * Guarantee 1 for zones and the group of all nodes, of what was taken for a node that serves. The way back
   * goes past those that wait for an operator.
   */
  private checkSpread(before: World): void {
    const { maxPerZone, minAvailable } = this.drawn.places;
    const { rollout, slots } = this.world;
    const isBack = rollout?.course.kind === 'back' || rollout?.plan.header.direction === 'back';
    const had = new Set([...before.slots.values()].map(({ node }) => node));
    const holders = [...slots].filter(([key]) => !isStuck(key) || !isBack).map(([, { node }]) => node);
    const out = [...slots.values()].map((slot) => slot.node);
    for (const [key, { node }] of slots) {
      if (isStuck(key) || had.has(node) || this.isOut(node)) continue;
      const beside = holders.filter((other) => this.zoneOf(other) === this.zoneOf(node));
      if (maxPerZone !== null && beside.length > maxPerZone)
        this.wrong(`${node} goes out beside those of its zone: ${beside.join(', ')}`, 1);
      const serving = [...this.agents.keys()].filter((id) => this.isListed(id) && !out.includes(id));
      const isSound = this.isStoredAsServing(node);
      if (minAvailable !== null && isSound && serving.length < minAvailable)
        this.wrong(`${node} goes out, and only these of ${minAvailable} serve: ${serving.join(', ')}`, 1);
    }
  }

  /** Whether the leader has last heard that it serves: what is known to be down takes nothing away. */
  private isStoredAsServing(node: string): boolean {
    const { health, inMaintenance }: { health?: string; inMaintenance?: boolean } = JSON.parse(
      this.etcd.get(keys.nodeStatus(node))?.value ?? '{}',
    );
    return health === 'healthy' && inMaintenance === false;
  }

  private zoneOf(node: string): string {
    return this.specOf(node).labels?.zone ?? '';
  }

  private isListed(node: string): boolean {
    return this.specOf(node).removed === false;
  }

  private specOf(node: string): { removed?: boolean; labels?: { zone?: string } } {
    return JSON.parse(this.etcd.get(keys.nodeSpec(node))?.value ?? '{}');
  }

  /** Guarantee 7: health held for the whole window. */
  private checkFreed(before: World): void {
    const { rollout } = this.world;
    const soakMs = rollout?.plan.header.policy.soakMs ?? 0;
    for (const [key, { node, rollout: taken }] of before.slots) {
      const now = this.world.slots.get(key);
      // A slot that an operator had before the rollout is given back to him by then.
      if (isStuck(key) || taken !== rollout?.id || (now?.node === node && now.rollout === taken)) continue;
      const agent = this.agents.get(node);
      if (rollout?.nodes.get(node)?.state.phase !== 'done' || agent === undefined) continue;
      if (!agent.hasSaidHealthy)
        this.wrong(`${node} is done, and has not said since its last job that it is healthy`, 7);
      if (agent.longestGoodForMs < soakMs)
        this.wrong(`${node} is done after ${agent.longestGoodForMs} ms of a soak of ${soakMs} ms`, 7);
    }
  }

  /** Guarantee 1, told from the nodes: who is out of service has a slot. How many those are is counted there. */
  private checkOut(): void {
    const holders = new Set([...this.world.slots.values()].map(({ node }) => node));
    for (const { id } of this.agents.values()) {
      if (this.isOut(id) && !holders.has(id) && !this.away.has(id))
        this.wrong(`${id} is out of service and has no slot`, 1);
    }
  }

  private isOut(node: string): boolean {
    const { open, isLook } = this.recordOf(node);
    const isWorking = open !== undefined && !isLook;
    return isWorking || this.agents.get(node)?.model.state.inMaintenance === true;
  }
}

export function sentenceOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
