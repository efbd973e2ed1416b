/**
 * One history from one seed: controllers that campaign for the lead in the model etcd, agents, a network
 * between them, operators who ask for one rollout after the other. First with faults, in which nothing that
 * is promised may break; then without, in which every rollout must end, with an end that the nodes confirm.
 */
import { createHash } from 'node:crypto';
import pino, { type Logger } from 'pino';
import type { Rollout } from '../../controller/rollout/rollout.js';
import { readNodes } from '../../controller/state/node-store.js';
import { checkAudit, checkEnd } from '../scenarios/invariants.test.part.js';
import { ModelEtcd } from '../scenarios/model-etcd.test.part.js';
import { keys } from '../scenarios/model-leader.test.part.js';
import { lookOf, SimulatedAgent } from './agent.test.part.js';
import { unasked } from './asked.test.part.js';
import { Clock, outsideOfPromises, type Process } from './clock.test.part.js';
import { SimulatedController, withModelLinks } from './controller.test.part.js';
import type { Action, Drawn } from './drawn.test.part.js';
import { onClock } from './host.test.part.js';
import { unnamed } from './named.test.part.js';
import { Network } from './network.test.part.js';
import { Operators } from './operators.test.part.js';
import { Recorded } from './recorded.test.part.js';
import { withModelTakeOver } from './taking-over.test.part.js';
import { type Broken, sentenceOf, Watch } from './watch.test.part.js';

/** Simulated milliseconds without faults within which every rollout ends, and every node comes to rest. */
const calmMaxMs = 3_600_000;
const restMs = 5_000;

/** Faults that are words of operators. */
const wordKinds: readonly string[] = ['wish', 'maintenance', 'hold', 'freeze', 'confirm', 'remove'];

/** What one history came to. */
export interface Played {
  readonly broken: Broken | undefined;
  /** `succeeded 0` for each rollout that was in force, in their order; `active` for one that did not end. */
  readonly ends: readonly string[];
  readonly simulatedMs: number;
  readonly events: number;
  /** How often each fault happened. */
  readonly faults: ReadonlyMap<string, number>;
  /** Over everything that stood in etcd: the same for the same seed. */
  readonly trace: string;
}

/** Plays what was drawn. @param say hears what happens, a line each */
export async function play(drawn: Drawn, say: (line: string) => void = () => undefined): Promise<Played> {
  const clock = new Clock();
  return onClock(clock, async () => {
    try {
      return await new Simulation(drawn, clock, say).run();
    } catch (thrown) {
      const broken = { guarantee: 0, sentence: `it does not begin: ${sentenceOf(thrown)}` };
      return { broken, ends: [], simulatedMs: 0, events: 0, faults: new Map(), trace: '' };
    }
  });
}

class Simulation {
  private readonly etcd = new ModelEtcd();
  private readonly network: Network;
  private readonly agents = new Map<string, SimulatedAgent>();
  private readonly controllers: SimulatedController[] = [];
  private readonly watch: Watch;
  private readonly trace = createHash('sha256');
  private readonly operators: Operators;
  private readonly recorded: Recorded;
  private readonly ends: string[] = [];
  /** Nodes of which the rollout's plan was not true when it began, or that somebody has changed since. */
  private readonly changed = new Set<string>();
  /** Nodes that were taken off the list since the rollout began: its end says nothing of them. */
  private readonly removed = new Set<string>();
  /** Nodes whose hosts are gone, and never come back. */
  private readonly gone = new Set<string>();
  private last: Rollout | undefined;
  private beganAtMs = 0;
  private atRestSinceMs = 0;
  private lookAgainMs = 0;

  constructor(
    private readonly drawn: Drawn,
    private readonly clock: Clock,
    private readonly say: (line: string) => void,
  ) {
    const { nodes, isNewer } = drawn;
    this.network = new Network(clock, drawn);
    // Calls of the agents' watch come once everything stands.
    const watch = (): Watch => this.watch;
    const log = this.log();
    const side = isNewer ? 'new' : 'old';
    const agentWatch = new Proxy({} as Watch, { get: (_, name) => Reflect.get(watch(), name).bind(watch()) });
    for (let number = 1; number <= nodes; number++) {
      const node = `node-${number}`;
      this.agents.set(
        node,
        new SimulatedAgent(node, side, {
          ...{ clock, network: this.network, watch: agentWatch, log },
          skewMs: drawn.skewMs(node),
        }),
      );
    }
    this.enlist();
    const { etcd } = this;
    this.recorded = new Recorded(etcd);
    // Before the watch hears it: a removal may be what ends a rollout.
    etcd.listen(({ changed }) => {
      for (const [key, entry] of changed) {
        const [, node = '', word] = key.slice(keys.prefix.length).split('/');
        if (word === 'spec' && entry?.value.includes('"removed":true')) this.removed.add(node);
      }
    });
    this.watch = new Watch(etcd, this.agents, clock, drawn, {
      began: (rollout) => this.began(rollout),
      ended: (rollout) => this.ended(rollout),
    });
    const world = (): Watch['world'] => this.watch.world;
    const isCalm = (): boolean => this.network.isCalm;
    this.operators = new Operators({
      etcd,
      clock,
      drawn,
      world,
      isCalm,
      agents: this.agents,
      changed: this.changed,
      count: (fault) => void this.network.count(fault),
      said: (reason) => this.watch.said.said(reason),
      isGone: (node) => this.gone.has(node),
      restart: (agent) => void this.kill(agent, false, 0.25),
    });
    this.etcd.listen(({ revision, changed }) => {
      for (const [key, entry] of changed) {
        this.trace.update(`${clock.nowMs} ${revision} ${key} ${entry?.value}\n`);
        this.say(`${this.at()} etcd ${key.slice(keys.prefix.length)} ${entry?.value ?? 'deleted'}`);
      }
    });
    for (let number = 1; number <= drawn.controllers; number++) {
      const way = {
        etcd: this.etcd,
        clock,
        network: this.network,
        name: `controller-${number}`,
        watch: this.watch,
      };
      this.controllers.push(
        new SimulatedController({ way, drawn, agents: this.agents, watch: this.watch, log }),
      );
    }
  }

  async run(): Promise<Played> {
    const { clock, drawn, watch } = this;
    const unforeseen = (thrown: unknown): void => watch.wrong(`nobody catches: ${sentenceOf(thrown)}`);
    process.on('unhandledRejection', unforeseen);
    const undo = withModelLinks(() => this.controllers.find(({ process }) => process === clock.running));
    const undoTakeOver = withModelTakeOver(lookOf);
    try {
      for (const agent of this.agents.values()) agent.start();
      for (const controller of this.controllers) controller.start();
      this.operators.start();
      for (const action of drawn.actions) clock.after(action.atMs, () => this.act(action), null);
      clock.after(drawn.faultyMs, () => this.calmDown(), null);
      await outsideOfPromises(() => this.steps());
    } catch (thrown) {
      watch.wrong(`the history breaks: ${thrown instanceof Error ? thrown.stack : String(thrown)}`);
    } finally {
      undo();
      undoTakeOver();
      process.off('unhandledRejection', unforeseen);
    }
    return this.result();
  }

  private steps(): void {
    const { clock, watch, drawn } = this;
    while (watch.broken === undefined && clock.step()) {
      watch.checkNodes();
      if (clock.nowMs > Math.max(drawn.faultyMs, this.beganAtMs) + calmMaxMs) {
        watch.wrong(this.whyNoEnd(), 10);
        return;
      }
      if (!this.network.isCalm || clock.nowMs < this.lookAgainMs) continue;
      this.lookAgainMs = clock.nowMs + restMs / 10;
      if (!this.isAtRest()) this.atRestSinceMs = clock.nowMs;
      else if (clock.nowMs > this.atRestSinceMs + restMs) {
        this.checkRest();
        return;
      }
    }
  }

  /** Every rollout has ended, the faults too, and nobody has anything left to do or to say. */
  private isAtRest(): boolean {
    const { watch, operators } = this;
    return watch.world.rollout === undefined && operators.isDone && this.atWork().length === 0;
  }

  private whyNoEnd(): string {
    const { rollout, slots } = this.watch.world;
    const nodes = [...(rollout?.nodes.values() ?? [])].map((node) => `${node.id} ${node.state.phase}`);
    const held = [...slots].map(([key, { node, reason }]) => `${key} ${node} (${reason})`);
    return [
      `without faults it does not end: ${rollout?.phase} ${rollout?.course.kind}, ${nodes.join(', ')}`,
      `at work: ${this.atWork().join(' ')}; slots: ${held.join(', ')}`,
    ].join('; ');
  }

  /** The nodes are on the list before anybody leads. */
  private enlist(): void {
    const { zones } = this.drawn.places;
    for (const [index, node] of [...this.agents.keys()].entries()) {
      // Those of the first zone do not say where they are.
      const labels = index % zones === 0 ? {} : { zone: `zone-${index % zones}` };
      this.etcd.put(keys.nodeSpec(node), {
        ...{ address: `${node}:1`, labels, installId: 'install', removed: false },
      });
    }
  }

  private began(rollout: Rollout): void {
    this.last = rollout;
    this.ends.push('active');
    this.beganAtMs = this.clock.nowMs;
    const wrong = unasked(rollout, this.operators.askedBy(rollout.requestId), this.drawn.policy);
    if (wrong !== undefined) this.watch.wrong(`${rollout.id}: ${wrong.sentence}`, wrong.guarantee);
    this.operators.began();
    this.changed.clear();
    this.removed.clear();
    // A job that an earlier one left open may still take a node elsewhere.
    for (const { node, from } of rollout.plan.parts)
      if (this.agents.get(node)?.release.digest !== from.digest || this.watch.isChanging(node))
        this.changed.add(node);
  }

  private ended(rollout: Rollout): void {
    this.last = rollout;
    this.ends[this.ends.length - 1] = `${rollout.phase} ${rollout.exitCode}`;
    this.checkEnd(rollout);
    this.operators.ended(rollout);
  }

  private act({ kind, who, how }: Action): void {
    const controller = this.controllers[who % this.controllers.length];
    const agent = [...this.agents.values()][who % this.agents.size];
    if (this.network.isCalm || controller === undefined || agent === undefined) return;
    const { clock, network, drawn } = this;
    const forMs = 300 + 2 * how;
    const host = `controller-${(how % this.controllers.length) + 1}`;
    this.say(`${this.at()} fault ${kind} who=${who} how=${how}`);
    switch (kind) {
      case 'partition':
        network.cut(host, agent.id, forMs);
        network.cut(agent.id, host, forMs);
        break;
      case 'one_way_partition':
        if (how % 2 === 0) network.cut(host, agent.id, forMs);
        else network.cut(agent.id, host, forMs);
        break;
      case 'etcd_cut':
        network.cut(host, 'etcd', forMs);
        if (how % 3 > 0) network.cut('etcd', host, forMs);
        break;
      case 'controller_crash':
        if (!controller.process.alive) return;
        controller.die();
        clock.after(forMs / 3, () => controller.process.alive || controller.start(), null);
        break;
      case 'controller_pause':
        if (!controller.process.alive) return;
        pause(controller.process, clock.nowMs + forMs);
        break;
      case 'agent_crash':
      case 'agent_power_cut':
        if (!this.kill(agent, kind === 'agent_power_cut', how / 4)) return;
        break;
      case 'agent_pause':
        if (!agent.process.alive) return;
        pause(agent.process, clock.nowMs + forMs);
        break;
      case 'lease_lost':
      case 'all_leases_lost': {
        const leases = this.etcd.liveLeases;
        const lost = kind === 'lease_lost' ? leases.slice(0, 1) : leases;
        if (lost.length === 0) return;
        for (const lease of lost) this.etcd.revoke(lease);
        break;
      }
      case 'sickness':
        agent.sicken(forMs);
        break;
      case 'changed_by_hand':
        if (!this.change(agent)) return;
        break;
      case 'lonely_leader':
        if (!this.isolate(forMs, how)) return;
        break;
      case 'wish':
        if (!this.operators.wish(how, agent.id)) return;
        break;
      case 'maintenance':
        // Some think better of it while the node is still on its way out.
        this.operators.maintain(agent.id, how % 2 === 0 ? how / 5 : 2 * forMs);
        break;
      case 'hold':
        this.operators.hold(agent.id, forMs);
        break;
      case 'freeze':
        this.operators.freeze(forMs);
        break;
      case 'confirm':
        if (!this.operators.confirm(how)) return;
        break;
      case 'remove':
        this.operators.remove(agent.id, 2 * forMs);
        break;
      case 'etcd_down':
        network.etcdBackAtMs = clock.nowMs + forMs;
        break;
      case 'long_death':
        // Longer than anybody waits for it; now and then until the rollout is long over.
        if (!this.kill(agent, how % 2 === 0, (how % 3 === 0 ? 8 : 2) * drawn.policy.unknownMaxMs)) return;
        break;
      case 'dead_for_good':
        if (!this.kill(agent, true, 0)) return;
        this.gone.add(agent.id);
        break;
    }
    // A word counts once it is in force.
    if (!wordKinds.includes(kind)) network.count(kind);
  }

  private kill(agent: SimulatedAgent, isPowerCut: boolean, forMs: number): boolean {
    if (!agent.process.alive) return false;
    agent.die(isPowerCut);
    this.watch.died(agent.id);
    this.clock.after(forMs, () => this.revive(agent), null);
    return true;
  }

  private revive(agent: SimulatedAgent): void {
    if (!agent.process.alive && !this.gone.has(agent.id)) agent.start();
  }

  /** Only before the rollout touches the node: what comes after is the job's own. */
  private change(agent: SimulatedAgent): boolean {
    const phase = this.watch.world.rollout?.nodes.get(agent.id)?.state.phase;
    if (phase !== 'ready' || !agent.isIdle || this.watch.isTouched(agent.id)) return false;
    if (agent.model.state.inMaintenance) return false;
    agent.changeByHand();
    this.changed.add(agent.id);
    return true;
  }

  /** Whoever leads has no etcd for longer than its lease; then its commands break, which it would send again. */
  private isolate(forMs: number, how: number): boolean {
    const { leader } = this.watch;
    const { network, clock, drawn } = this;
    if (leader === undefined) return false;
    const leaseMs = drawn.ttlSeconds * 1_000;
    network.cut(leader, 'etcd', forMs + 2 * leaseMs);
    network.cut('etcd', leader, forMs + 2 * leaseMs);
    const controller = this.controllers.find(({ process }) => process.name === leader);
    clock.after(leaseMs - 1_000 + (how % 2_000), () => network.isCalm || controller?.breakCalls(), null);
    return true;
  }

  /** The faults stop: who is down starts, and who stands still goes on. */
  private calmDown(): void {
    this.say(`${this.at()} the faults stop`);
    this.network.isCalm = true;
    this.atRestSinceMs = this.clock.nowMs;
    for (const controller of this.controllers) {
      this.clock.wake(controller.process);
      if (!controller.process.alive) controller.start();
    }
    for (const agent of this.agents.values()) {
      this.clock.wake(agent.process);
      agent.sicken(0);
      this.revive(agent);
    }
  }

  private atWork(): string[] {
    return [...this.agents.values()]
      .filter(({ id, life, isWorking }) => (life === undefined && !this.gone.has(id)) || isWorking)
      .map(({ id: node }) => node);
  }

  /** Guarantee 10, at the very moment of the end: nothing is under way then that could still change it. */
  private checkEnd(rollout: Rollout): void {
    const { slots } = this.watch.world;
    // An operator's, or one that needs an operator since an earlier one.
    const others = new Set(
      [...slots.values()].filter((slot) => slot.rollout !== rollout.id).map(({ node }) => node),
    );
    const truths = [...this.agents.values()].map((agent) => ({
      ...{ id: agent.id, release: agent.release },
      inMaintenance: agent.model.state.inMaintenance && !others.has(agent.id),
      touched: this.watch.isTouched(agent.id, rollout.id),
      removed: this.removed.has(agent.id),
      changed: this.changed.has(agent.id),
    }));
    const [inPlan, outside] = [true, false].map((is) =>
      truths.filter(({ id }) => rollout.nodes.has(id) === is),
    );
    try {
      for (const { id, touched } of outside ?? [])
        if (touched) throw new Error(`${id} is touched, and has no part in it`);
      checkEnd(rollout, inPlan ?? [], this.operators.leftOut);
      this.watch.said.check(rollout);
    } catch (thrown) {
      const { phase, exitCode, reason } = rollout;
      this.watch.wrong(`${phase} ${exitCode} (${reason}): ${sentenceOf(thrown)}`, 10);
    }
  }

  /** Guarantees 4, 9 and 10, once everything has come to rest. */
  private checkRest(): void {
    this.watch.checkAdopted(this.gone);
    const named = new Set([...this.watch.world.slots.values()].map(({ node }) => node));
    for (const { id, spec, status } of readNodes(keys, this.etcd.under(keys.nodes))) {
      const isUnheard = this.gone.has(id) && status?.unknown !== false;
      if (spec.removed || isUnheard || (status?.needsOperator ?? '') !== '') named.add(id);
    }
    for (const agent of this.agents.values()) {
      if (named.has(agent.id)) continue;
      if (agent.model.state.inMaintenance)
        this.watch.wrong(`${agent.id} is left in maintenance, and nobody is told`, 4);
      const { service, current, data } = agent.model.state;
      if (service !== current || data !== current || agent.health !== 'healthy')
        this.watch.wrong(
          `${agent.id} does not serve, and nobody is told: ${JSON.stringify(agent.model.state)}`,
          3,
        );
    }
    const left = unnamed(this.etcd, this.watch.world.slots);
    if (left !== undefined) this.watch.wrong(left, 4);
    if (this.last !== undefined) this.checkEnd(this.last);
    try {
      const records = checkAudit(keys, this.etcd, true);
      this.watch.deeds.check(records);
      this.recorded.check(records);
    } catch (thrown) {
      this.watch.wrong(`the audit record: ${sentenceOf(thrown)}`, 9);
    }
  }

  private result(): Played {
    return {
      broken: this.watch.broken,
      ends: this.ends,
      simulatedMs: this.clock.nowMs,
      events: this.clock.taken,
      faults: this.network.happened,
      trace: this.trace.digest('hex'),
    };
  }

  private at(): string {
    return `${(this.clock.nowMs / 1_000).toFixed(3).padStart(8)}`;
  }

  /** Silent, but for what must never be logged. */
  private log(): Logger {
    const silent = pino({ level: 'silent' });
    const hear = (values: unknown, message: unknown): void => {
      this.say(`${this.at()} log ${String(message)}`);
      const error: unknown = typeof values === 'object' && values !== null && Reflect.get(values, 'err');
      const code: unknown = typeof error === 'object' && error !== null && Reflect.get(error, 'code');
      if (code === 'INTERNAL')
        this.watch.wrong(
          `${String(message)}: ${sentenceOf(error)} ${String(error instanceof Error && error.cause instanceof Error ? error.cause.stack : '')}`,
        );
    };
    return Object.assign(Object.create(silent), { error: hear, fatal: hear });
  }
}

/** Of two pauses the later end counts: what is put off until then must not come behind what is new. */
function pause(process: Process, untilMs: number): void {
  process.pausedUntilMs = Math.max(process.pausedUntilMs, untilMs);
}
