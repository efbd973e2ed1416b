/**
 * One history: a cluster of model agents, leaders that come and go over one model etcd, a network that
 * reorders, loses and delays, and operators who change their minds. Whatever happens, the guarantees hold
 * after every step; once the faults stop, the rollout ends, and its exit code is true.
 */
import assert from 'node:assert/strict';
import { buildCommand } from '../../controller/execution/commands.js';
import { isStuck } from '../../controller/rollout/budget.js';
import type { Effect, EngineEvent } from '../../controller/rollout/events.js';
import {
  isFinal,
  openCommand,
  type Plan,
  type Rollout,
  type RolloutPolicy,
} from '../../controller/rollout/rollout.js';
import type { Spread } from '../../controller/rollout/world.js';
import { anywhere } from '../../controller/state/load-world.js';
import { Deeds } from '../scenarios/deeds.test.part.js';
import { checkAudit, checkEnd } from '../scenarios/invariants.test.part.js';
import { ModelEtcd } from '../scenarios/model-etcd.test.part.js';
import {
  enlist,
  keys,
  LeaderDied,
  ModelLeader,
  type Step,
  storeAdopted,
} from '../scenarios/model-leader.test.part.js';
import { Told } from '../scenarios/reasons.test.part.js';
import { releaseAt, sampleNode, samplePlan, samplePolicy } from '../scenarios/sample-plan.test.part.js';
import { type Answer, type Call, type Fate, ModelAgent } from './model-agent.test.part.js';

/** A history as it was drawn: the cluster, the policy, and what happens. */
export interface Drawn {
  readonly nodes: number;
  /** A bit for each node: it runs the target already. */
  readonly ahead: number;
  readonly canary: number;
  readonly isRollback: boolean;
  readonly policy: Pick<RolloutPolicy, 'maxConcurrent' | 'soakMs' | 'failureBudget' | 'rollbackOnFailure'>;
  /** It begins where the first nodes start, so that faults meet them and not only the checks. */
  readonly isChecked: boolean;
  /** Zones and a group; absent: nodes may be out wherever they are. */
  readonly spread?: DrawnSpread | undefined;
  /** A bit for each node: it has just come to the list, and no leader has adopted it. */
  readonly joiners?: number | undefined;
  /** The leader dies after so many transactions of the start, and the next one starts it again; absent: it lives. */
  readonly startWrites?: number | undefined;
  /** Few operations in one transaction: many places for a leader to die between two. */
  readonly operationsMax: number;
  /** [what, who, how]. */
  readonly actions: readonly (readonly [number, number, number])[];
}

export interface DrawnSpread {
  /** Nodes are shared among so many zones in turn; those of the first one do not say where they are. */
  readonly zones: number;
  readonly maxPerZone: number | null;
  /** A bit for each node: it belongs to the group. */
  readonly group: number;
  /** The group needs all of its nodes but so many. */
  readonly spare: number;
}

const id = 'update_0a1_0b1_20241219_120000';
/** Rounds without faults within which every rollout ends. */
const calmRoundsMax = 400;
/** After so many of them operators put zones and groups aside: what needs them may be gone for good. */
const limitedRoundsMax = 30;
/** Rounds without faults within which every node on the list is adopted; one that refused is asked again later. */
const joinedRoundsMax = 40;
const unknownMaxMs = 20_000;

export class History {
  private readonly store = new ModelEtcd();
  private readonly agents: ModelAgent[];
  private leader: ModelLeader;
  private session = 0;
  private seq = 0n;
  private nowMs = 1_700_000_000_000;
  private calls: { readonly node: string; readonly call: Call }[] = [];
  private answers: Answer[] = [];
  private wishes = 0;
  /** Nodes that an operator wanted to leave out. */
  private readonly leftOut = new Set<string>();
  private ended: Rollout | undefined;
  private readonly deeds = new Deeds();
  private readonly told = new Told();
  private spread: Spread = anywhere;
  steps = 0;

  constructor(private readonly drawn: Drawn) {
    const [from, to] = drawn.isRollback ? ['0b1', '0a1'] : ['0a1', '0b1'];
    const isAhead = (index: number): boolean => index > 0 && (drawn.ahead & (1 << index)) !== 0;
    this.agents = Array.from({ length: drawn.nodes }, (_, index) => {
      const release = releaseAt(isAhead(index) ? to : from);
      return new ModelAgent(`node-${index + 1}`, release, (answer) => this.answered(answer));
    });
    if (drawn.spread !== undefined) this.spread = this.spreadOf(drawn.spread);
    else if (this.isListed) for (const agent of this.agents) enlist(this.store, agent.id, {});
    for (const [index, agent] of this.agents.entries())
      if (this.isListed && !this.isJoiner(index)) storeAdopted(this.store, agent.id);
    this.leader = this.newLeader();
    const { plan, problems } = samplePlan({
      nodes: this.agents.map((agent) => sampleNode(agent.id, agent.release.version)),
      to,
      policy: { ...samplePolicy, unknownMaxMs, ...drawn.policy },
      canary: drawn.canary,
      direction: drawn.isRollback ? 'back' : 'forward',
    });
    assert.deepEqual(problems, []);
    this.start(plan);
  }

  /** Whether etcd has a list of nodes; without zones and joiners nothing depends on it. */
  private get isListed(): boolean {
    return this.drawn.spread !== undefined || (this.drawn.joiners ?? 0) > 0;
  }

  private isJoiner(index: number): boolean {
    return ((this.drawn.joiners ?? 0) & (1 << index)) !== 0;
  }

  /** The wish for a rollout stands until it is in force: whoever leads next starts it. */
  private start(plan: Plan): void {
    try {
      this.follow(this.leader.start(id, plan, this.nowMs, this.drawn.startWrites));
    } catch (thrown) {
      if (!(thrown instanceof LeaderDied)) throw thrown;
      this.succeed();
      if (this.leader.world.rollout === undefined) this.follow(this.leader.start(id, plan, this.nowMs));
    }
  }

  /** Plays all that was drawn, then lets the faults stop. @returns the rollout as it ended */
  play(): Rollout {
    for (let round = 0; this.drawn.isChecked && this.ended === undefined && !this.hasBegun(); round++) {
      assert.ok(round < calmRoundsMax, 'the checks do not end');
      this.calmRound(0);
    }
    for (const action of this.drawn.actions) {
      if (this.ended !== undefined) break;
      this.act(...action);
      this.checkTruth();
    }
    const ended = this.ended ?? this.calmDown();
    checkEnd(ended, this.agents, this.leftOut);
    this.told.check(ended);
    this.deeds.check(checkAudit(keys, this.store, true));
    this.checkJoined();
    return ended;
  }

  /** Labels go into etcd, where each leader finds them. */
  private spreadOf({ zones, maxPerZone, group, spare }: DrawnSpread): Spread {
    let members = 0;
    for (const [index, agent] of this.agents.entries()) {
      const isMember = (group & (1 << index)) !== 0;
      if (isMember) members += 1;
      const labels = {
        ...(index % zones > 0 && { zone: `z${index % zones}` }),
        ...(isMember && { group: 'db' }),
      };
      enlist(this.store, agent.id, labels);
    }
    const minAvailable = Math.max(0, members - spare);
    return { maxPerZone, zoneLabel: 'zone', groups: [{ name: 'db', labels: { group: 'db' }, minAvailable }] };
  }

  private act(what: number, who: number, how: number): void {
    const agent = this.agents[who % this.agents.length];
    assert.ok(agent);
    const kind = what % 100;
    if (kind < 22) this.deliverCalls(1 + (how % 8), who, how);
    else if (kind < 44) this.deliverAnswers(1 + (how % 8), who);
    else if (kind < 58) this.workOn(agent, how);
    else if (kind < 66) this.calmRound(how % 12);
    else if (kind < 72) this.pass((how + 1) * 20);
    else if (kind < 77) this.partition(agent);
    else if (kind < 81) this.heal(agent);
    else if (kind < 84) this.restart(agent, how);
    else if (kind < 87) this.breakStream(agent, how);
    else if (kind < 90) this.foreign(agent, who, how);
    else if (kind < 92) this.changeLeader();
    else if (kind < 95) this.die(how % 4);
    else if (kind < 96) this.wish(how);
    else if (kind < 97) this.sayOfNode(agent.id, how);
    else if (kind < 98) this.hold(agent.id, how % 3 > 0);
    else if (kind === 98) this.sicken(agent);
    else this.breakForGood(agent, how);
  }

  /** Calls arrive in any order; one that a dead leader sent may arrive late. */
  private deliverCalls(count: number, who: number, how: number): void {
    for (let delivered = 0; delivered < count && this.calls.length > 0; delivered++) {
      const [taken] = this.calls.splice((who + delivered * 7) % this.calls.length, 1);
      const agent = this.agents.find((candidate) => candidate.id === taken?.node);
      if (taken === undefined || agent === undefined) continue;
      if (agent.reachable) agent.take(taken.call, how % 47 === 0 ? 'fails' : 'fine');
      else this.calls.push(taken);
    }
  }

  /** What one node says arrives in its order; the nodes among each other do not wait. */
  private deliverAnswers(count: number, who: number): void {
    for (let delivered = 0; delivered < count && this.answers.length > 0; delivered++) {
      const picked = this.answers[(who + delivered * 5) % this.answers.length];
      const nodes = picked === undefined ? undefined : nodeOf(picked.event);
      const at = this.answers.findIndex((answer) => nodeOf(answer.event) === nodes);
      const [answer] = this.answers.splice(at, 1);
      if (answer === undefined || answer.session !== this.session) continue;
      this.take([answer.event]);
      // Now and then a stream says a thing twice.
      if (who % 11 === 0) this.take([answer.event]);
    }
  }

  private workOn(agent: ModelAgent, how: number): void {
    const fate: Fate = how % 13 === 0 ? 'fails for good' : how % 7 === 0 ? 'fails' : 'fine';
    for (let phase = 0; phase < how % 5; phase++) agent.work('fine', this.nowMs);
    agent.work(fate, this.nowMs);
  }

  private pass(ms: number): void {
    this.nowMs += ms;
    const soaking = [...(this.leader.world.rollout?.nodes.values() ?? [])].filter(
      (node) => node.state.phase === 'soaking',
    );
    this.take([...soaking.flatMap((node) => this.observed(node.id)), { kind: 'tick' }]);
  }

  private partition(agent: ModelAgent): void {
    agent.reachable = false;
    agent.restart(false, agent.goodSinceMs);
    this.take([{ kind: 'unreachable', node: agent.id }]);
  }

  private heal(agent: ModelAgent): void {
    if (agent.removed) return;
    agent.reachable = true;
    this.take(this.observed(agent.id));
  }

  private restart(agent: ModelAgent, how: number): void {
    agent.restart(how % 2 === 0, this.nowMs);
    this.take([{ kind: 'unreachable', node: agent.id }, ...this.observed(agent.id)]);
  }

  /** The leader gives a stream up; the call may still arrive. */
  private breakStream(agent: ModelAgent, how: number): void {
    const commandId = this.leader.world.views.get(agent.id)?.inFlight;
    if (commandId === null || commandId === undefined) return;
    if (how % 2 === 0) this.calls = this.calls.filter(({ node }) => node !== agent.id);
    this.take([{ kind: 'stream_broken', node: agent.id, commandId }]);
  }

  /** Something that nobody asked for, or that is long over. */
  private foreign(agent: ModelAgent, who: number, how: number): void {
    const node = this.leader.world.rollout?.nodes.get(agent.id);
    const other = this.agents[(who + 1) % this.agents.length];
    const own = node && openCommand(node.state);
    const commandId =
      how % 2 === 0 ? `${id}.${other?.id}.upgrade.1` : `${id}.${agent.id}.upgrade.${9 + (how % 3)}`;
    if (commandId === own?.id) return;
    const outcomes = ['done', 'failed', 'rolled_back', 'rollback_failed'] as const;
    const outcome = {
      outcome: outcomes[how % 4] ?? 'done',
      failure: null,
      failedStep: '',
      release: releaseAt('0r9'),
      problems: [],
      backupId: '',
      inMaintenance: false,
    };
    this.take([
      { kind: 'progress', node: agent.id, commandId, phase: 'committing', waitsFor: '' },
      { kind: 'finished', node: agent.id, commandId, outcome },
      { kind: 'refused', node: agent.id, commandId, fault: { code: 'NODE_CHANGED', message: 'late' } },
      { kind: 'stream_broken', node: agent.id, commandId },
    ]);
  }

  private changeLeader(): void {
    this.leader.checkStored();
    this.succeed();
  }

  /** The leader dies between two writes of a step; of its effects none happens. */
  private die(writes: number): void {
    const events = this.answers.splice(0, 3).filter(({ session }) => session === this.session);
    try {
      this.follow(
        this.leader.step(
          events.map(({ event }) => event),
          this.nowMs,
          writes,
        ),
      );
    } catch (thrown) {
      if (!(thrown instanceof LeaderDied)) throw thrown;
      this.succeed();
    }
  }

  private succeed(): void {
    this.session += 1;
    this.leader = this.newLeader();
    for (const agent of this.agents.filter(({ removed }) => !removed)) {
      const events = agent.reachable
        ? this.observed(agent.id)
        : [{ kind: 'unreachable', node: agent.id } as const];
      this.answers.push(...events.map((event) => ({ session: this.session, event })));
    }
  }

  /** A wish is recorded at once, and known to the leader then, or when it next loses a race. */
  private wish(how: number): void {
    const words = ['pause', 'resume', 'pause', 'resume', 'abort', 'abort', 'resume', 'pause'] as const;
    this.say(words[how % 8] ?? 'pause', how % 16 < 8);
    if (how % 3 === 0) this.hear();
  }

  private say(kind: 'pause' | 'resume' | 'abort', rollback: boolean): void {
    if (this.leader.world.rollout === undefined) return;
    this.told.said(`${kind} ${this.wishes + 1}`);
    this.store.put(keys.rolloutIntent(id, String(++this.wishes)), {
      kind,
      by: 'operator',
      at: '2024-12-19T12:00:00Z',
      reason: `${kind} ${this.wishes}`,
      ...(kind === 'abort' && { rollback }),
    });
  }

  /** A node is tried again, or left out, at any moment; what cannot be is refused by the engine. */
  private sayOfNode(node: string, how: number): void {
    if (this.leader.world.rollout === undefined) return;
    const kind = how % 2 === 0 ? 'retry' : 'skip';
    if (kind === 'skip') this.leftOut.add(node);
    this.store.put(keys.rolloutIntent(id, String(++this.wishes)), {
      kind,
      node,
      by: 'operator',
      at: '2024-12-19T12:00:00Z',
      reason: `${kind} ${this.wishes}`,
    });
    this.hear();
  }

  private hold(node: string, on: boolean): void {
    const hold = on ? { reason: 'a look', by: 'operator', sinceMs: this.nowMs } : null;
    this.take([{ kind: 'hold', node, hold }]);
  }

  private hear(): void {
    this.leader.notice();
    this.take([]);
  }

  private sicken(agent: ModelAgent): void {
    agent.healthy = false;
    if (agent.reachable) this.take(this.observed(agent.id));
  }

  private breakForGood(agent: ModelAgent, how: number): void {
    const phase = this.leader.world.rollout?.nodes.get(agent.id)?.state.phase;
    const removable = phase === 'done' || phase === 'rolled_back' || phase === 'rollback_failed';
    if (how % 2 === 0 || !removable || agent.isWorking) {
      agent.breakJournal();
      return;
    }
    agent.removed = true;
    agent.reachable = false;
    if (this.isListed) this.store.put(keys.nodeSpec(agent.id), { address: '', labels: {}, removed: true });
    this.take([
      { kind: 'removed', node: agent.id },
      { kind: 'unreachable', node: agent.id },
    ]);
  }

  private hasBegun(): boolean {
    const phase = this.leader.world.rollout?.phase ?? 'planned';
    return !['planned', 'preflight', 'staging'].includes(phase);
  }

  /** Everything arrives, and every job does some phases; nothing fails. */
  private calmRound(phases: number): void {
    this.nowMs += 400;
    for (const { node, call } of this.calls.splice(0)) {
      const agent = this.agents.find((candidate) => candidate.id === node);
      if (agent?.reachable) agent.take(call, 'fine');
      else if (agent?.removed === false) this.calls.push({ node, call });
    }
    for (const agent of this.agents) {
      for (let phase = 0; phase < phases && agent.reachable; phase++) agent.work('fine', this.nowMs);
    }
    const events = this.answers.splice(0).filter(({ session }) => session === this.session);
    const observed = this.agents
      .filter(({ reachable }) => reachable)
      .flatMap((agent) => this.observed(agent.id));
    this.take([...events.map(({ event }) => event), ...observed, { kind: 'tick' }]);
  }

  /** The faults stop. */
  private calmDown(): Rollout {
    for (const agent of this.agents) {
      agent.healthy = true;
      agent.goodSinceMs = this.nowMs;
      if (!agent.removed) agent.reachable = true;
      this.hold(agent.id, false);
    }
    for (let round = 0; round < calmRoundsMax; round++) {
      if (this.ended !== undefined) return this.ended;
      this.hear();
      if (this.leader.world.rollout?.course.kind === 'paused') {
        this.say(round % 3 === 2 ? 'abort' : 'resume', round % 2 === 0);
        this.hear();
      }
      if (round === limitedRoundsMax) {
        this.spread = anywhere;
        this.succeed();
      }
      if (this.isBlockedByStuck()) this.say('abort', round % 2 === 0);
      this.calmRound(10);
      this.checkTruth();
    }
    throw new Error(`the rollout does not end: ${JSON.stringify(this.describe())}`);
  }

  /** More nodes need an operator than the policy puts up with: nothing starts until one acts (guarantee 1). */
  private isBlockedByStuck(): boolean {
    const { rollout, slots } = this.leader.world;
    const stuck = [...slots.keys()].filter(isStuck).length;
    return rollout?.course.kind === 'forward' && stuck > this.drawn.policy.failureBudget;
  }

  private take(events: readonly EngineEvent[]): void {
    this.follow(this.leader.step(events, this.nowMs));
  }

  private follow({ after, effects }: Step): void {
    this.steps += 1;
    const { rollout } = after;
    for (const { id: node, error } of rollout?.nodes.values() ?? []) {
      if (error !== null) this.told.failed(node, error.message);
      if (error?.code === 'NODE_LOST') this.deeds.lost(node);
    }
    if (rollout !== undefined && isFinal(rollout.phase)) this.ended = rollout;
    for (const effect of effects) this.call(effect, rollout);
  }

  /** Hands an effect to the network. */
  private call(effect: Effect, rollout: Rollout | undefined): void {
    const { node } = effect;
    if (this.agents.some((agent) => agent.id === node && agent.removed)) {
      this.answers.push({ session: this.session, event: { kind: 'unreachable', node } });
      return;
    }
    if (effect.kind === 'look') return;
    this.seq += 1n;
    const { term } = this.leader;
    const part = rollout?.plan.parts.find((candidate) => candidate.node === node);
    let sent: Call['sent'];
    if (effect.kind === 'send') {
      const { kind } = effect.command;
      assert.ok(rollout && part && kind !== 'maintenance' && kind !== 'take_over');
      const token = { epoch: 1n, term, seq: this.seq };
      const command = buildCommand(rollout, part, { ...effect.command, kind }, token, new Date(0));
      sent = { open: effect.command, command };
    }
    if (sent !== undefined) this.deeds.sent(node, sent.open.id);
    this.calls.push({ node, call: { session: this.session, term, seq: this.seq, sent } });
  }

  /** A node answers, whoever will hear it. */
  private answered(answer: Answer): void {
    const { event } = answer;
    if (event.kind === 'finished')
      this.deeds.ended(event.commandId, event.outcome.outcome, event.outcome.failure?.message);
    if (event.kind === 'refused') this.deeds.refused(event.commandId, event.fault.code, event.fault.message);
    this.answers.push(answer);
  }

  private newLeader(): ModelLeader {
    const { operationsMax } = this.drawn;
    return new ModelLeader(this.store, 1, BigInt(this.session + 1), operationsMax, this.nowMs, this.spread);
  }

  private observed(node: string): EngineEvent[] {
    const agent = this.agents.find((candidate) => candidate.id === node);
    if (agent === undefined || !agent.reachable) return [];
    return [{ kind: 'observed', node, observation: agent.observation(this.nowMs) }];
  }

  /** Guarantee 1, told from the nodes themselves: who is out of service has a slot in etcd. */
  private checkTruth(): void {
    const holders = new Set(
      this.store.under(keys.slots).map((entry) => (JSON.parse(entry.value) as { node: string }).node),
    );
    for (const agent of this.agents) {
      if (agent.removed || (!agent.isWorking && !agent.inMaintenance)) continue;
      assert.ok(holders.has(agent.id), `${agent.id} is out of service and has no slot`);
    }
  }

  /** Whoever came to the list and can be reached is adopted, with a rollout and without. */
  private checkJoined(): void {
    const isNew = ({ id: node, removed }: ModelAgent): boolean =>
      this.isListed && !removed && this.store.get(keys.nodeStatus(node)) === undefined;
    for (const agent of this.agents) if (!agent.removed) agent.reachable = true;
    for (let round = 0; round < joinedRoundsMax && this.agents.some(isNew); round++) this.calmRound(0);
    const left = this.agents.filter(isNew).map((agent) => agent.id);
    assert.deepEqual(left, [], 'nodes on the list that no leader adopts');
  }

  private describe(): object {
    const { rollout, slots } = this.leader.world;
    return {
      phase: rollout?.phase,
      course: rollout?.course,
      nodes: [...(rollout?.nodes.values() ?? [])].map(({ id: node, state, error }) => ({
        node,
        state,
        error,
      })),
      slots: [...slots],
    };
  }
}

function nodeOf(event: EngineEvent): string | undefined {
  return 'node' in event ? event.node : undefined;
}
