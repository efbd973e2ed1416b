/**
 * Node agents that play a script: real gRPC servers with mutual TLS that fence, remember and replay
 * commands as an agent does, without a disk or a service. A test can hold a node at one step, let a
 * step fail, and ask afterwards what was executed how often.
 */
import { Server, type ServerDuplexStream, type ServerWritableStream } from '@grpc/grpc-js';
import { grpcAuthorization } from '../../config/authorization.js';
import { type ErrorCode, PlexiError } from '../../config/errors.js';
import { toServiceError } from '../../config/grpc-status.js';
import { grpcServerCredentials, type TlsFiles } from '../../config/tls.js';
import {
  AdoptResponse,
  type Command,
  type CommandProgress,
  CommandResult,
  DescribeResponse,
  type ExecuteRequest,
  ExecuteResponse,
  JournalJob,
  type LineageEntry,
  type NodeAgentServiceServer,
  NodeAgentServiceService,
  NodeStatus,
  type Release,
  type Token,
  type WatchStatusRequest,
  type WatchStatusResponse,
} from '../../gen/plexi/v1/node_agent.js';

export interface ScriptedAgentOptions {
  readonly cluster: string;
  readonly node: string;
  readonly tls: TlsFiles;
  readonly release: Release;
  /** The address that it listens on. */
  readonly host: string;
  /** The port of an agent that comes back; 0: any. */
  readonly port?: number;
}

/** What an agent that was taken over says in the place of what is true. */
export interface Lies {
  readonly status: (status: NodeStatus) => NodeStatus;
  readonly jobs: (jobs: readonly JournalJob[]) => JournalJob[];
  readonly result: (result: CommandResult) => CommandResult;
  readonly progress: (progress: CommandProgress) => CommandProgress;
  readonly fence: (fence: Token) => Token;
}

type StepName = NonNullable<Command['step']>['$case'];

/** The phases that an upgrade reports. */
const phases = [
  'entering_maintenance',
  'stopping',
  'backing_up',
  'migrating',
  'applying',
  'probing',
  'committing',
  'leaving_maintenance',
];

const openToken: Token = { epoch: 0n, term: 0n, seq: 0n };

export class ScriptedAgent {
  /** Command ids in the order in which they were executed; one that was replayed is not here again. */
  readonly executed: string[] = [];
  /** Terms of the leaders that adopted this node. */
  readonly adoptions: bigint[] = [];
  /** Every call under a token, in order. */
  readonly contacts: ('adopt' | 'execute')[] = [];
  /** The term of each of them, also where it was refused. */
  readonly contactTerms: bigint[] = [];
  /** When each of them came, on the clock of `performance.now()`. */
  readonly contactsAtMs: number[] = [];
  /** The token of everything that came over a stream of its status: one when it is opened, then the pings. */
  readonly pings: Token[] = [];
  release: Release;
  health = 'healthy';
  healthReason = '';
  port = 0;
  lies: Partial<Lies> = {};
  /** Followed logs that the caller gave up. */
  logsEnded = 0;
  private readonly results = new Map<string, Promise<CommandResult>>();
  /** What its journal would hold, by command. */
  private readonly jobs = new Map<string, JournalJob>();
  private readonly gates = new Map<StepName, { open: Promise<void>; release: () => void; at: string }>();
  private readonly failures = new Map<StepName, { code: ErrorCode; message: string }>();
  private readonly watchers = new Set<ServerDuplexStream<WatchStatusRequest, WatchStatusResponse>>();
  private readonly wakes = new Set<() => void>();
  private fence: Token = openToken;
  private lineage: LineageEntry | undefined;
  private phase = 'idle';
  private inMaintenance = false;
  private goodSinceMs = performance.now();
  private soakIsHeld = false;
  private server: Server;

  private constructor(private readonly options: ScriptedAgentOptions) {
    this.release = options.release;
    this.server = this.makeServer();
  }

  static async start(options: ScriptedAgentOptions): Promise<ScriptedAgent> {
    const agent = new ScriptedAgent(options);
    await agent.listen(options.port ?? 0);
    return agent;
  }

  get node(): string {
    return this.options.node;
  }

  get address(): string {
    return `${this.options.host}:${this.port}`;
  }

  /**
   * Lets every command of this kind wait until it is released; returns what releases it.
   * @param at the phase in which an upgrade waits; else it waits before the first one
   */
  hold(step: StepName, at = ''): () => void {
    let release = (): void => undefined;
    const open = new Promise<void>((resolve) => {
      release = resolve;
    });
    this.gates.set(step, { open, release, at });
    return () => {
      this.gates.delete(step);
      release();
    };
  }

  /** It has been good for no time at all until it is released; returns what releases it. */
  holdSoak(): () => void {
    this.soakIsHeld = true;
    return () => {
      this.soakIsHeld = false;
      this.tell();
    };
  }

  /** Lets the next commands of this kind succeed again. */
  mend(step: StepName): void {
    this.failures.delete(step);
  }

  /** Lets the next commands of this kind fail. */
  fail(step: StepName, code: ErrorCode, message: string): void {
    this.failures.set(step, { code, message });
  }

  /** What the journal tells of a person on the node; `ended` false: it is still under way. */
  saysByHand(commandId: string, ended = true): void {
    const result = CommandResult.fromPartial({ outcome: 'done', release: this.release });
    const job = { commandId, by: 'ada', reason: 'no controller is left', ...(ended && { result }) };
    this.jobs.set(commandId, JournalJob.fromPartial(job));
  }

  /** Resolves once a command of this kind was begun. */
  async begun(step: StepName, timeoutMs = 15_000): Promise<void> {
    const words = { rollBack: ['roll_back'], takeOver: ['adopt', 'confirm'] };
    const wanted = step === 'rollBack' || step === 'takeOver' ? words[step] : [step];
    const deadlineMs = performance.now() + timeoutMs;
    while (!this.executed.some((id) => id.split('.').some((part) => wanted.includes(part)))) {
      const leftMs = deadlineMs - performance.now();
      if (leftMs <= 0) throw new Error(`${this.node} was sent no ${step}: ${this.executed.join(', ')}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, leftMs);
        this.wakes.add(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }

  /** Breaks all connections; what runs goes on. */
  async goAway(): Promise<void> {
    this.watchers.clear();
    this.server.forceShutdown();
  }

  /** Listens again under the same address. */
  async comeBack(): Promise<void> {
    this.server = this.makeServer();
    await this.listen(this.port);
  }

  stop(): void {
    for (const gate of this.gates.values()) gate.release();
    this.server.forceShutdown();
  }

  private makeServer(): Server {
    const server = new Server({ interceptors: [grpcAuthorization(this.options.cluster)] });
    server.addService(NodeAgentServiceService, this.handlers());
    return server;
  }

  private async listen(port: number): Promise<void> {
    this.port = await new Promise<number>((resolve, reject) => {
      const credentials = grpcServerCredentials(this.options.tls);
      this.server.bindAsync(`${this.options.host}:${port}`, credentials, (error, bound) =>
        error === null ? resolve(bound) : reject(error),
      );
    });
  }

  private handlers(): NodeAgentServiceServer {
    return {
      describe: (_call, callback) =>
        callback(
          null,
          DescribeResponse.fromPartial({
            status: this.status(),
            fence: this.lies.fence?.(this.fence) ?? this.fence,
            ...(this.lineage && { lineage: this.lineage }),
          }),
        ),
      adopt: (call, callback) => {
        const { token = openToken, lineage } = call.request;
        this.contacted('adopt', token);
        try {
          this.raiseFence(token);
        } catch (thrown) {
          callback(toServiceError(thrown));
          return;
        }
        const previousLineage = this.lineage;
        this.lineage = lineage;
        this.adoptions.push(token.term);
        callback(
          null,
          AdoptResponse.fromPartial({
            status: this.status(),
            ...(previousLineage && { previousLineage }),
            jobs: this.lies.jobs?.([...this.jobs.values()]) ?? [...this.jobs.values()],
          }),
        );
      },
      execute: (call) => {
        this.execute(call).catch((thrown) => call.emit('error', toServiceError(thrown)));
      },
      readLog: (call) => {
        const { source, name, follow } = call.request;
        call.write({ data: Buffer.from(`${source} ${name}\n`) });
        if (!follow) call.end();
        else call.once('cancelled', () => this.logsEnded++);
      },
      watchStatus: (call) => {
        this.watchers.add(call);
        call.on('data', ({ token = openToken }: WatchStatusRequest) => {
          this.pings.push(token);
          call.write({ status: this.status() });
        });
        call.on('end', () => call.end());
        call.on('cancelled', () => this.watchers.delete(call));
        call.on('error', () => this.watchers.delete(call));
      },
    };
  }

  private contacted(how: 'adopt' | 'execute', { term }: Token): void {
    this.contacts.push(how);
    this.contactTerms.push(term);
    this.contactsAtMs.push(performance.now());
  }

  private raiseFence(token: Token): void {
    const order = ['epoch', 'term', 'seq'] as const;
    const part = order.find((name) => token[name] !== this.fence[name]);
    if (part !== undefined && token[part] < this.fence[part])
      throw new PlexiError('STALE_TOKEN', `${this.node} has seen a higher token`);
    this.fence = token;
  }

  private async execute(call: ServerWritableStream<ExecuteRequest, ExecuteResponse>): Promise<void> {
    const { command } = call.request;
    this.contacted('execute', command?.token ?? openToken);
    if (command === undefined) throw new PlexiError('USAGE', 'Execute needs a command');
    const send = (event: NonNullable<ExecuteResponse['event']>['event']): void => {
      if (!call.cancelled)
        call.write(ExecuteResponse.fromPartial({ event: { commandId: command.commandId, event } }));
    };
    const known = this.results.get(command.commandId);
    if (known === undefined) this.raiseFence(command.token ?? openToken);
    send({ $case: 'accepted', value: { known: known !== undefined } });
    const running = known ?? this.begin(command, send);
    const result = await running;
    send({ $case: 'finished', value: this.lies.result?.(result) ?? result });
    call.end();
  }

  private begin(
    command: Command,
    send: (event: NonNullable<ExecuteResponse['event']>['event']) => void,
  ): Promise<CommandResult> {
    const result = this.carryOut(command, (phase) => {
      this.phase = phase;
      const progress = { phase, percent: 0, message: '', waitsFor: '' };
      send({ $case: 'progress', value: this.lies.progress?.(progress) ?? progress });
    });
    this.results.set(command.commandId, result);
    this.remember(command, result);
    this.executed.push(command.commandId);
    for (const wake of this.wakes) wake();
    this.wakes.clear();
    return result;
  }

  /** A journal holds what touches the node, and its end once it has one. */
  private remember({ commandId, rolloutId, attempt, step }: Command, result: Promise<CommandResult>): void {
    if (step?.$case !== 'upgrade' && step?.$case !== 'maintenance' && step?.$case !== 'takeOver') return;
    const job = JournalJob.fromPartial({ commandId, rolloutId, attempt, step: step.$case });
    this.jobs.set(commandId, job);
    result.then(
      (ended) => this.jobs.set(commandId, { ...job, result: ended }),
      () => this.jobs.delete(commandId),
    );
  }

  private async carryOut(command: Command, enter: (phase: string) => void): Promise<CommandResult> {
    const { step } = command;
    if (step === undefined) throw new PlexiError('COMMAND_CONFLICT', 'a command without a step');
    // As an agent's own upgrade does, until it has committed and left maintenance again.
    const wasInMaintenance = this.inMaintenance;
    if (step.$case === 'upgrade') this.inMaintenance = true;
    const gate = this.gates.get(step.$case);
    const entered = phases.slice(0, phases.indexOf(gate?.at ?? '') + 1);
    for (const phase of entered) enter(phase);
    await gate?.open;
    if (step.$case === 'upgrade') this.inMaintenance = wasInMaintenance;
    const failure = this.failures.get(step.$case);
    if (failure !== undefined) {
      const outcome = step.$case === 'upgrade' ? 'rolled_back' : 'failed';
      return CommandResult.fromPartial({ outcome, failure, failedStep: 'probe', release: this.release });
    }
    if (step.$case === 'upgrade') {
      for (const phase of phases.slice(entered.length)) enter(phase);
      this.release = step.value.to ?? this.release;
      this.goodSinceMs = performance.now();
    }
    if (step.$case === 'takeOver') this.release = { version: step.value.version, digest: 'd'.repeat(64) };
    if (step.$case === 'maintenance') this.inMaintenance = step.value.on;
    this.phase = 'idle';
    this.tell();
    return CommandResult.fromPartial({ outcome: 'done', release: this.release });
  }

  /** Tells all who watch how the node is. */
  tell(): void {
    for (const call of this.watchers) call.write({ status: this.status() });
  }

  private status(): NodeStatus {
    const status = NodeStatus.fromPartial({
      nodeId: this.node,
      cluster: this.options.cluster,
      installId: `install of ${this.node}`,
      agentVersion: '0.1.0',
      release: this.release,
      health: this.health,
      healthReason: this.healthReason,
      goodForMs: this.soakIsHeld ? 0n : BigInt(Math.round(performance.now() - this.goodSinceMs)),
      inMaintenance: this.inMaintenance,
      phase: this.phase,
      os: 'linux',
      arch: 'x64',
    });
    return this.lies.status?.(status) ?? status;
  }
}
