/**
 * One history from one seed: controllers that campaign for the lead in the model etcd, agents, a network
 * between them, operators. First with faults, in which nothing that is promised may break; then without,
 * in which the rollout must end, with an end that the nodes confirm.
 */
import { createHash } from 'node:crypto';
import pino, { type Logger } from 'pino';
import { makePlan } from '../../controller/rollout/plan.js';
import { isFinal, type Rollout } from '../../controller/rollout/rollout.js';
import { loadRollout } from '../../controller/state/load-world.js';
import { checkAudit, checkEnd } from '../scenarios/invariants.test.part.js';
import { ModelEtcd } from '../scenarios/model-etcd.test.part.js';
import { keys, ModelLeader } from '../scenarios/model-leader.test.part.js';
import { sampleInputs, sampleNode, sampleTarget } from '../scenarios/sample-plan.test.part.js';
import { SimulatedAgent } from './agent.test.part.js';
import { Clock, outsideOfPromises } from './clock.test.part.js';
import { epochMs, SimulatedController, withModelLinks } from './controller.test.part.js';
import type { Action, Drawn } from './drawn.test.part.js';
import { onClock, versions } from './host.test.part.js';
import { Network } from './network.test.part.js';
import { type Broken, sentenceOf, Watch } from './watch.test.part.js';

const id = 'update_0a1_0b1_20241219_120000';
/** Simulated milliseconds without faults within which every rollout ends, and every node comes to rest. */
const calmMaxMs = 3_600_000;
const restMs = 5_000;
/** Milliseconds between two looks of an operator at a rollout that does not go on. */
const operatorMs = 5_000;

/** What one history came to. */
export interface Played {
  readonly broken: Broken | undefined;
  /** `succeeded 0`; empty when it did not end. */
  readonly end: string;
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
      // The start of the rollout is held to the same sentences.
      const broken = { guarantee: 0, sentence: `it does not begin: ${sentenceOf(thrown)}` };
      return { broken, end: '', simulatedMs: 0, events: 0, faults: new Map(), trace: '' };
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
  private readonly leftOut = new Set<string>();
  private ended: Rollout | undefined;
  private endedAtMs = 0;
  private wishes = 0;

  constructor(
    private readonly drawn: Drawn,
    private readonly clock: Clock,
    private readonly say: (line: string) => void,
  ) {
    const { nodes, isRollback } = drawn;
    this.network = new Network(clock, drawn);
    // Calls of the agents' watch come once everything stands.
    const watch = (): Watch => this.watch;
    const log = this.log();
    const side = isRollback ? 'new' : 'old';
    const agentWatch = new Proxy({} as Watch, { get: (_, name) => Reflect.get(watch(), name).bind(watch()) });
    for (let number = 1; number <= nodes; number++) {
      const node = `node-${number}`;
      this.agents.set(
        node,
        new SimulatedAgent(node, side, { clock, network: this.network, watch: agentWatch, log }),
      );
    }
    this.begin();
    this.watch = new Watch(this.etcd, this.agents, id, clock);
    this.etcd.listen(({ revision, changed }) => {
      for (const [key, entry] of changed) {
        this.trace.update(`${clock.nowMs} ${revision} ${key} ${entry?.value}\n`);
        this.say(`${this.at()} etcd ${key.slice(keys.prefix.length)} ${entry?.value ?? 'deleted'}`);
      }
      if (changed.has(keys.rolloutState(id))) this.lookForEnd();
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
    try {
      for (const agent of this.agents.values()) agent.start();
      for (const controller of this.controllers) controller.start();
      for (const action of drawn.actions) clock.after(action.atMs, () => this.act(action), null);
      clock.after(drawn.faultyMs, () => this.calmDown(), null);
      await outsideOfPromises(() => this.steps());
    } catch (thrown) {
      watch.wrong(`the history breaks: ${thrown instanceof Error ? thrown.stack : String(thrown)}`);
    } finally {
      undo();
      process.off('unhandledRejection', unforeseen);
    }
    return this.result();
  }

  private steps(): void {
    const { clock, watch, drawn } = this;
    while (watch.broken === undefined && clock.step()) {
      watch.checkNodes();
      if (clock.nowMs > drawn.faultyMs + calmMaxMs) {
        const { rollout } = watch.world;
        const nodes = [...(rollout?.nodes.values() ?? [])].map((node) => `${node.id} ${node.state.phase}`);
        watch.wrong(
          `without faults it does not end: ${rollout?.phase} ${rollout?.course.kind}, ${nodes.join(', ')}; at work: ${this.atWork().join(' ')}`,
          10,
        );
        return;
      }
      const isOver = this.ended !== undefined && this.network.isCalm && this.atWork().length === 0;
      if (isOver && clock.nowMs > Math.max(this.endedAtMs, drawn.faultyMs) + restMs) {
        this.checkRest(this.ended);
        return;
      }
    }
  }

  /** The plan, put in force before anybody leads. */
  private begin(): void {
    const { drawn, etcd } = this;
    const [from, to] = drawn.isRollback ? [versions.new, versions.old] : [versions.old, versions.new];
    const way = drawn.isRollback ? 'down' : 'up';
    const inputs = sampleInputs({
      nodes: [...this.agents.keys()].map((node) => sampleNode(node, from)),
      ...{ to, policy: drawn.policy, canary: drawn.canary },
      direction: drawn.isRollback ? 'back' : 'forward',
    });
    const target = sampleTarget(to, {
      migrationsFrom: () => [{ id: '001', checksum: 'c'.repeat(64), direction: way }],
    });
    const { plan, problems } = makePlan({ ...inputs, targetOf: () => target });
    if (problems.length > 0) throw new Error(problems.join('; '));
    for (const node of this.agents.keys())
      etcd.put(keys.nodeSpec(node), {
        address: `${node}:1`,
        labels: {},
        installId: 'install',
        removed: false,
      });
    new ModelLeader(etcd, 1, 0n).start(id, plan, epochMs);
  }

  private act({ kind, who, how }: Action): void {
    const controller = this.controllers[who % this.controllers.length];
    const agent = [...this.agents.values()][who % this.agents.size];
    if (this.network.isCalm || controller === undefined || agent === undefined) return;
    const { clock, network } = this;
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
        controller.process.pausedUntilMs = clock.nowMs + forMs;
        break;
      case 'agent_crash':
      case 'agent_power_cut':
        if (!this.kill(agent, kind === 'agent_power_cut', how)) return;
        break;
      case 'agent_pause':
        agent.process.pausedUntilMs = clock.nowMs + forMs;
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
      case 'wish':
        if (!this.wish(how, agent.id)) return;
        break;
    }
    network.count(kind);
  }

  private kill(agent: SimulatedAgent, isPowerCut: boolean, how: number): boolean {
    if (!agent.process.alive) return false;
    agent.die(isPowerCut);
    this.watch.died(agent.id);
    this.clock.after(how / 4, () => agent.process.alive || agent.start(), null);
    return true;
  }

  /** Only before the rollout touches the node: what comes after is the job's own. */
  private change(agent: SimulatedAgent): boolean {
    const phase = this.watch.world.rollout?.nodes.get(agent.id)?.state.phase;
    if (phase !== 'ready' || agent.isWorking || this.watch.isTouched(agent.id)) return false;
    agent.changeByHand();
    return true;
  }

  private wish(how: number, node: string): boolean {
    const words = ['pause', 'resume', 'pause', 'abort', 'retry', 'skip', 'resume', 'retry'] as const;
    const word = words[how % words.length] ?? 'pause';
    if (word === 'skip') this.leftOut.add(node);
    const isOfNode = word === 'retry' || word === 'skip';
    return this.tell(word, { ...(word === 'abort' && { rollback: how % 3 > 0 }), ...(isOfNode && { node }) });
  }

  /** Some replica stores what an operator wants. */
  private tell(kind: string, more: object = {}): boolean {
    if (this.watch.world.rollout === undefined) return false;
    const reason = `${kind} ${++this.wishes}`;
    const intent = { kind, by: 'operator', at: new Date(epochMs).toISOString(), reason, ...more };
    this.etcd.put(keys.rolloutIntent(id, String(this.wishes)), intent);
    return true;
  }

  /** The faults stop: who is down starts, and who stands still goes on. */
  private calmDown(): void {
    this.say(`${this.at()} the faults stop`);
    this.network.isCalm = true;
    for (const controller of this.controllers) {
      controller.process.pausedUntilMs = this.clock.nowMs;
      if (!controller.process.alive) controller.start();
    }
    for (const agent of this.agents.values()) {
      agent.process.pausedUntilMs = this.clock.nowMs;
      agent.sicken(0);
      if (!agent.process.alive) agent.start();
    }
    this.lookAfter(0);
  }

  /** An operator lets a rollout go on that waits for one. */
  private lookAfter(round: number): void {
    if (this.ended !== undefined) return;
    const { rollout } = this.watch.world;
    if (rollout?.course.kind === 'paused') {
      if (round % 3 === 2) this.tell('abort', { rollback: round % 2 === 0 });
      else this.tell('resume');
    }
    this.clock.after(operatorMs, () => this.lookAfter(round + 1), null);
  }

  private atWork(): string[] {
    return [...this.agents.values()]
      .filter(({ life, isWorking }) => life === undefined || isWorking)
      .map(({ id: node }) => node);
  }

  private lookForEnd(): void {
    const phase = this.watch.lastPhase;
    if (phase === undefined || !isFinal(phase) || this.ended !== undefined) return;
    this.ended = loadRollout(keys, id, this.etcd.entries());
    this.endedAtMs = this.clock.nowMs;
  }

  /** Guarantees 4 and 10, once everything has come to rest. */
  private checkRest(rollout: Rollout | undefined): void {
    const stuck = new Set([...this.watch.world.slots.values()].map(({ node }) => node));
    for (const agent of this.agents.values()) {
      if (agent.model.state.inMaintenance && !stuck.has(agent.id))
        this.watch.wrong(`${agent.id} is left in maintenance, and nobody is told`, 4);
    }
    const truths = [...this.agents.values()].map((agent) => ({
      ...{ id: agent.id, release: agent.release, inMaintenance: agent.model.state.inMaintenance },
      touched: this.watch.isTouched(agent.id),
      removed: agent.isChangedByHand,
    }));
    try {
      if (rollout !== undefined) checkEnd(rollout, truths, this.leftOut);
      if (rollout?.reason === '') throw new Error('it ended without a reason');
    } catch (thrown) {
      this.watch.wrong(
        `${rollout?.phase} ${rollout?.exitCode} (${rollout?.reason}): ${sentenceOf(thrown)}`,
        10,
      );
    }
    try {
      checkAudit(keys, this.etcd, rollout !== undefined);
    } catch (thrown) {
      this.watch.wrong(`the audit record: ${sentenceOf(thrown)}`, 9);
    }
  }

  private result(): Played {
    return {
      broken: this.watch.broken,
      end: this.ended === undefined ? '' : `${this.ended.phase} ${this.ended.exitCode}`,
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
