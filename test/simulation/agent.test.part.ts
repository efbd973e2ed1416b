/**
 * A node under simulation: the agent's own fence, journal, admission of commands, executor, jobs and
 * recovery, over a disk in memory and a model of the node (the phases of model-node.test.part.ts, each of
 * which takes time, may fail and may be cut short). Modelled are what needs a real host: the checks before
 * an upgrade, staging, maintenance hooks and the watch over the service's health.
 */
import type { Logger } from 'pino';
import { PlexiError } from '../../config/errors.js';
import type { ReleaseRef } from '../../controller/rollout/rollout.js';
import {
  type AdoptRequest,
  type AdoptResponse,
  type Command,
  CommandResult,
  type DescribeResponse,
  type NodeStatus,
  type TakeOverStep,
  type Token,
} from '../../gen/plexi/v1/node_agent.js';
import { CommandService, type EventSink } from '../../node-agent/api/command-service.js';
import { Fence } from '../../node-agent/api/fence.js';
import { NodeStatusSource } from '../../node-agent/api/node-status.js';
import { Journal, type JournalDisk } from '../../node-agent/journal/journal.js';
import { MemoryJournalDisk } from '../../node-agent/journal/memory-disk.test.part.js';
import type { AgentNode } from '../../node-agent/node.js';
import { failedJobTrouble } from '../../node-agent/takeover/failed-job.js';
import { Executor } from '../../node-agent/upgrade/executor.js';
import { ModelNode, type Side } from '../../node-agent/upgrade/model-node.test.part.js';
import type { PhaseContext } from '../../node-agent/upgrade/phase.js';
import { releaseAt } from '../scenarios/sample-plan.test.part.js';
import { type Clock, type Due, Process } from './clock.test.part.js';
import { pathsAt, versions } from './host.test.part.js';
import type { Network } from './network.test.part.js';
import type { Look } from './taking-over.test.part.js';

/** What is written on the disk of a node. */
export interface WrittenRecord {
  readonly kind: string;
  readonly commandId: string;
  readonly step?: string;
  readonly committed?: boolean;
  readonly command?: Record<string, unknown>;
  readonly token?: { readonly epoch: string; readonly term: string; readonly seq: string };
  readonly result?: { readonly outcome: string; readonly failure: { readonly message: string } | null };
}

/** Who hears what happens on nodes. */
export interface AgentWatch {
  journaled(agent: SimulatedAgent, record: WrittenRecord): void;
  adopted(agent: SimulatedAgent, request: AdoptRequest): void;
  /** A command was let in that was not known before. */
  admitted(agent: SimulatedAgent, command: Command): void;
  refused(agent: SimulatedAgent, command: Command, error: PlexiError): void;
  /** The result of a command is told to whoever asked. */
  told(agent: SimulatedAgent, command: Command, result: CommandResult): void;
  step(agent: SimulatedAgent, context: PhaseContext, step: string): void;
  wrong(sentence: string): void;
}

/** What the system says when a disk refuses a write. */
export class DiskError extends Error {
  readonly code = 'EIO';

  constructor(node: string) {
    super(`EIO: the disk of ${node} refuses a write`);
  }
}

/** How each node looks at its host. */
const looks = new WeakMap<AgentNode, Look>();

export function lookOf(node: AgentNode): Look {
  const look = looks.get(node);
  if (look === undefined) throw new Error('no simulated node takes over');
  return look;
}

/** Milliseconds between two looks at whether the service runs. */
const keeperMs = 500;

interface Life {
  readonly commands: CommandService;
  readonly status: NodeStatusSource;
  readonly executor: Executor;
  readonly journal: Journal;
  readonly fence: Fence;
}

export class SimulatedAgent {
  readonly model: ModelNode;
  process: Process;
  /** Undefined while the agent is down. */
  life: Life | undefined;
  /** Calls back when the process is gone, so that connections to it break. */
  readonly onDeath = new Set<() => void>();
  sickUntilMs = 0;
  private readonly records = new MemoryJournalDisk();
  private fenceBytes: Uint8Array | undefined;
  private readonly writing = new Set<Due>();
  private goodFromMs = 0;
  private longestGoodMs = 0;
  /** Since its last job it has said once at least that it is healthy. */
  hasSaidHealthy = false;

  constructor(
    readonly id: string,
    side: Side,
    private readonly parts: {
      readonly clock: Clock;
      readonly network: Network;
      readonly watch: AgentWatch;
      readonly log: Logger;
      /** How far its clock is off. */
      readonly skewMs: number;
    },
  ) {
    this.model = new ModelNode(side);
    this.process = new Process(id);
    for (const { step } of [...this.model.forwardPhases, ...this.model.backPhases]) {
      const act = (context: PhaseContext): Promise<void> => this.inStep(step, context);
      this.model.disturbances.push({ step, moment: 'middle', act });
      const before = (context: PhaseContext): void => parts.watch.step(this, context, step);
      this.model.disturbances.push({ step, moment: 'before', act: before });
    }
  }

  get release(): ReleaseRef {
    return releaseAt(versions[this.model.state.current]);
  }

  /** The token that the fence on the disk holds. */
  get storedToken(): Token {
    const file: { token: Record<keyof Token, string> } = JSON.parse(
      Buffer.from(this.fenceBytes ?? []).toString('utf8'),
    );
    const { epoch, term, seq } = file.token;
    return { epoch: BigInt(epoch), term: BigInt(term), seq: BigInt(seq) };
  }

  /** Its journal could not be written: it goes on once the agent is started again. */
  get isBroken(): boolean {
    return this.life?.executor.broken !== undefined;
  }

  /** It runs, and no job is open on it: what somebody changes by hand now, no job goes on from. */
  get isIdle(): boolean {
    return this.life !== undefined && !this.isWorking && this.life.journal.open() === undefined;
  }

  get isWorking(): boolean {
    return this.life?.executor.runningCommandId !== undefined;
  }

  /** Starts the agent (again) in a process of its own, as startAgent does. */
  start(): void {
    const { clock, watch } = this.parts;
    this.process = new Process(this.id);
    const begin = (): void => {
      this.setBack();
      this.begin().catch((thrown) => {
        // The program ends, and is started again.
        if (thrown instanceof DiskError) clock.after(1_000, begin, this.process);
        else watch.wrong(`the agent of ${this.id} does not start: ${String(thrown)}`);
      });
    };
    clock.after(0, begin, this.process);
  }

  /** The process dies; with a power cut what was on its way to the disk is lost as well. */
  die(isPowerCut: boolean): void {
    // Of how long it was good until now: a power cut takes the service down.
    this.setBack();
    this.process.alive = false;
    this.life = undefined;
    if (isPowerCut) {
      for (const due of this.writing) due.isCancelled = true;
      this.model.state.service = 'down';
    }
    this.writing.clear();
    for (const hear of [...this.onDeath]) hear();
    this.onDeath.clear();
  }

  sicken(forMs: number): void {
    const { clock } = this.parts;
    this.longestGoodMs = Math.max(this.longestGoodMs, this.goodForMs);
    this.sickUntilMs = clock.nowMs + forMs;
    this.life?.status.changed();
    clock.after(forMs + 1, () => this.life?.status.changed(), null);
  }

  /** Somebody puts the other release there, whole, and says nothing. */
  changeByHand(): void {
    const { state } = this.model;
    const side = state.current === 'old' ? 'new' : 'old';
    Object.assign(state, { service: side, current: side, data: side });
    this.setBack();
  }

  get goodForMs(): number {
    const { nowMs } = this.parts.clock;
    if (this.health !== 'healthy') return 0;
    return nowMs - Math.max(this.goodFromMs, this.sickUntilMs);
  }

  /** The longest time in which it was good since its last job. */
  get longestGoodForMs(): number {
    return Math.max(this.longestGoodMs, this.goodForMs);
  }

  get health(): 'healthy' | 'unhealthy' | 'unknown' {
    if (this.isWorking) return 'unknown';
    const { service, current } = this.model.state;
    return service === current && this.sickUntilMs <= this.parts.clock.nowMs ? 'healthy' : 'unhealthy';
  }

  async status(): Promise<NodeStatus | undefined> {
    const status = await this.life?.status.now();
    if (status?.health === 'healthy') this.hasSaidHealthy = true;
    return status;
  }

  async adopt(request: AdoptRequest): Promise<AdoptResponse> {
    const { life } = this;
    if (life === undefined) throw new Error('nobody listens');
    const response = await life.commands.adopt(request);
    this.parts.watch.adopted(this, request);
    return response;
  }

  /** What `Describe` answers. */
  async describe(): Promise<DescribeResponse> {
    const { life } = this;
    if (life === undefined) throw new Error('nobody listens');
    const { current } = life.fence;
    return { status: await life.status.now(), fence: current?.token, lineage: current?.lineage };
  }

  async execute(command: Command, sink: EventSink): Promise<void> {
    const { watch } = this.parts;
    const { life } = this;
    if (life === undefined) throw new Error('nobody listens');
    try {
      await life.commands.execute(command, (event) => {
        if (event?.$case === 'accepted' && !event.value.known) watch.admitted(this, command);
        if (event?.$case === 'finished') watch.told(this, command, event.value);
        sink(event);
      });
    } catch (thrown) {
      if (thrown instanceof PlexiError) watch.refused(this, command, thrown);
      else if (!(thrown instanceof DiskError))
        watch.wrong(`${command.commandId} met something unforeseen on ${this.id}: ${String(thrown)}`);
      throw thrown;
    }
  }

  /** An operator makes it whole by hand, as one of the two releases. @returns which; undefined while a job is open */
  putRight(side: Side): ReleaseRef | undefined {
    if (!this.isIdle) return undefined;
    Object.assign(this.model.state, { service: side, current: side, data: side });
    this.setBack();
    return this.release;
  }

  /** What a look at the host finds, when an operator has said what runs there. */
  async look({ version }: TakeOverStep): Promise<void> {
    const { clock, network } = this.parts;
    await clock.sleep(network.between(50, network.between(0, 3) === 0 ? 10_000 : 1_000));
    const { service, current, data } = this.model.state;
    const isWhole = service === current && service === data;
    if (isWhole && version === versions[current] && !network.chance('failing_steps')) return;
    throw new PlexiError('TAKE_OVER_FAILED', `${this.id} does not run ${version}`);
  }

  private async begin(): Promise<void> {
    const fence =
      this.fenceBytes === undefined ? await this.firstFence() : await Fence.open(this.fenceDisk());
    const wall = (): Date => this.wall();
    const journal = await Journal.open(this.journalDisk(), wall);
    for (const { token, commandId } of journal.list()) fence.recall(token, commandId);
    const node = this.node(wall);
    const { forwardPhases, backPhases } = this.model;
    // The releases of a simulated node are everybody's, and its backups are none.
    const executor = new Executor(node, journal, forwardPhases, backPhases, async () => undefined);
    const needsOperator = (): { code: string; message: string } | undefined =>
      executor.broken ?? failedJobTrouble(journal.list(), node);
    const status = new NodeStatusSource(node, executor, 'install', needsOperator);
    const commands = new CommandService(node, fence, journal, executor, status);
    this.playChecks(commands);
    executor.onIdle(() => {
      this.longestGoodMs = 0;
      this.hasSaidHealthy = false;
      this.goodFromMs = this.parts.clock.nowMs;
      this.keepLater();
    });
    await executor.recover();
    this.life = { commands, status, executor, journal, fence };
    this.keepLater();
  }

  /** As the keeper does: whatever is to run and does not is started, unless a job or an operator has the node. */
  private keepLater(): void {
    const { clock } = this.parts;
    const keep = async (): Promise<void> => {
      if (!this.isIdle || this.model.state.service !== 'down') return;
      if ((await this.status())?.needsOperator !== undefined || !this.isIdle) return;
      this.model.state.service = this.model.state.current;
      this.setBack();
      this.life?.status.changed();
    };
    clock.after(keeperMs, () => void keep(), this.process);
  }

  /** A new node is installed with a fence, before it is in any cluster. */
  private firstFence(): Promise<Fence> {
    return Fence.create({
      read: async () => undefined,
      write: async (bytes) => {
        this.fenceBytes = bytes;
      },
    });
  }

  private setBack(): void {
    this.longestGoodMs = Math.max(this.longestGoodMs, this.goodForMs);
    this.goodFromMs = this.parts.clock.nowMs;
  }

  private wall(): Date {
    return new Date(1_700_000_000_000 + this.parts.skewMs + this.parts.clock.nowMs);
  }

  private node(wall: () => Date): AgentNode {
    const { clock, log } = this.parts;
    const { state } = this.model;
    const agent = this;
    const monitor = {
      get health() {
        return agent.health;
      },
      get reason() {
        return agent.health === 'healthy' ? '' : 'it says 503';
      },
      goodForMs: () => agent.goodForMs,
      resume: () => undefined,
      on: () => undefined,
    };
    const maintenance = {
      get current() {
        return state.inMaintenance ? { reason: 'an upgrade', since: '' } : undefined;
      },
      isLeaving: false,
      isEntering: false,
      enter: () => this.move(true),
      leave: () => this.move(false),
      hold: async () => {
        state.inMaintenance = true;
      },
    };
    const config = { node: this.id, cluster: 'paper' };
    const changing = {
      get paths() {
        return pathsAt[state.current];
      },
    };
    // Only these parts are used by what runs here; the phases are played.
    const node = Object.assign({} as AgentNode, { config, monitor, maintenance, log });
    looks.set(node, (order) => this.look(order));
    Object.assign(node, { clock: { nowMs: () => clock.nowMs, wall } });
    return Object.defineProperties(node, Object.getOwnPropertyDescriptors(changing));
  }

  /** By an operator's order: the record, and a hook that takes a moment and may fail. */
  private async move(isIn: boolean): Promise<void> {
    const { clock, network } = this.parts;
    const { state } = this.model;
    if (isIn) state.inMaintenance = true;
    await clock.sleep(network.between(20, network.between(0, 2) === 0 ? 15_000 : 1_000));
    if (network.chance('failing_steps')) throw new PlexiError('HOOK_FAILED', `a hook of ${this.id} fails`);
    state.inMaintenance = isIn;
  }

  /** Preflight and staging look at a real host; their ends are drawn. */
  private playChecks(commands: CommandService): void {
    const rollBack = Reflect.get(commands, 'runDirect').bind(commands);
    Reflect.set(commands, 'runDirect', (command: Command, sink: EventSink): Promise<CommandResult> => {
      const { step } = command;
      if (step?.$case === 'preflight') return this.check('preflight', step.value.from?.digest ?? '');
      return step?.$case === 'stage' ? this.check('stage') : rollBack(command, sink);
    });
  }

  private async check(step: string, fromDigest = this.release.digest): Promise<CommandResult> {
    const { clock, network } = this.parts;
    await clock.sleep(network.between(50, 2_000));
    const isOther = fromDigest !== this.release.digest;
    const needsOperator = step === 'preflight' ? (await this.status())?.needsOperator : undefined;
    const failure = isOther
      ? { code: 'NODE_CHANGED', message: `${this.id} runs something else` }
      : { code: 'PREFLIGHT_FAILED', message: `${this.id} is not ready` };
    const fails =
      isOther ||
      needsOperator !== undefined ||
      (network.between(0, 9) === 0 && network.chance('failing_steps'));
    const { release } = this;
    return CommandResult.fromPartial(
      fails ? { outcome: 'failed', failure, failedStep: step, release } : { outcome: 'done', release },
    );
  }

  /** What a step of a job takes, and whether it works. */
  private async inStep(step: string, context: PhaseContext): Promise<void> {
    const { clock, network } = this.parts;
    // Mostly short, so that a history holds several rollouts; now and then as long as it takes to be cut off in.
    const longestMs = network.between(0, 3) === 0 ? 10_000 : 1_000;
    await clock.sleep(network.between(20, longestMs), context.signal);
    const isBack = this.model.backPhases.some((phase) => phase.step === step);
    if (step === 'commit' || (isBack && network.between(0, 3) > 0)) return;
    if (!network.chance('failing_steps')) return;
    // It hangs until its time is over, or fails at once.
    if (network.between(0, 3) === 0) await clock.sleep(10_000_000, context.signal);
    throw new PlexiError('PROBE_FAILED', `${step} does not work on ${this.id}`);
  }

  private fenceDisk() {
    return {
      read: async () => this.fenceBytes,
      // Refused behind the renaming, it is there all the same.
      write: (bytes: Uint8Array) =>
        this.write(() => {
          this.fenceBytes = bytes;
        }, this.parts.network.between(0, 1) === 0),
    };
  }

  private journalDisk(): JournalDisk {
    const { records } = this;
    return {
      list: () => records.list(),
      read: (name) => records.read(name),
      create: (name, bytes) =>
        this.write(() => {
          records.create(name, bytes).catch((thrown) => this.parts.watch.wrong(String(thrown)));
          const record: WrittenRecord = JSON.parse(Buffer.from(bytes).toString('utf8'));
          this.parts.watch.journaled(this, record);
        }),
      remove: (name) => this.write(() => records.remove(name).catch(() => undefined)),
    };
  }

  /**
   * A write takes a moment to reach the disk, and another until the process hears of it. It may be refused, and
   * stands for every try then.
   */
  private write(store: () => void, isKeptIfRefused = false): Promise<void> {
    const { clock, network } = this.parts;
    const { process } = this;
    const isRefused = network.chance('disk_errors');
    return new Promise((resolve, reject) => {
      const due = clock.after(
        network.between(0, 6),
        () => {
          this.writing.delete(due);
          if (!isRefused || isKeptIfRefused) store();
          const answer = (): void => (isRefused ? reject(new DiskError(this.id)) : resolve());
          clock.after(network.between(0, 3), answer, process);
        },
        null,
      );
      this.writing.add(due);
    });
  }
}
