/**
 * The line between a leader and a node, in the place of the one over gRPC: a stream of statuses that is
 * opened again when it breaks, and calls that are lost, doubled, late or cut short. What one stream
 * carries arrives in its order, or the stream is broken from there on, as with TCP.
 */
import { PlexiError } from '../../config/errors.js';
import { toServiceError } from '../../config/grpc-status.js';
import type { TokenParts } from '../../controller/execution/commands.js';
import {
  type AdoptRequest,
  type AdoptResponse,
  Command,
  type CommandEvent,
  type DescribeResponse,
  type NodeStatus,
} from '../../gen/plexi/v1/node_agent.js';
import type { SimulatedAgent } from './agent.test.part.js';
import type { Clock, Process } from './clock.test.part.js';
import type { Network } from './network.test.part.js';

/** Milliseconds between two looks at whether the other side is still there, and for a call without an answer. */
const aliveMs = 2_000;
const callMs = 5_000;
const pingMs = 20_000;
const reopenFirstMs = 200;
const reopenMaxMs = 5_000;

export interface LinkParts {
  readonly clock: Clock;
  readonly network: Network;
  readonly agent: SimulatedAgent;
  /** The host that the leader runs on. */
  readonly from: string;
  readonly emitStatus: (status: NodeStatus) => void;
  readonly emitLost: () => void;
  readonly adopting: (request: AdoptRequest) => void;
  readonly sending: (command: Command) => void;
}

export class ModelLink {
  readonly target: { readonly node: string; readonly address: string };
  private readonly process: Process | null;
  private isClosed = false;
  private isOpen = false;
  private reopenMs = reopenFirstMs;
  private unwatch = (): void => undefined;
  private statusAtMs = 0;
  /** How to end each call that is under way. */
  private readonly calls = new Set<() => void>();

  constructor(
    private readonly parts: LinkParts,
    readonly token: () => TokenParts,
  ) {
    const node = parts.agent.id;
    this.target = { node, address: `${node}:1` };
    this.process = parts.clock.running;
    this.open();
    this.lookAfter();
  }

  /** Asks for the status now. */
  ask(): void {
    const { clock, network, agent } = this.parts;
    if (this.isOpen && !this.isDeaf()) clock.after(network.delayMs(), () => this.tellStatus(), agent.process);
  }

  adopt(request: AdoptRequest): Promise<AdoptResponse> {
    const { agent } = this.parts;
    this.parts.adopting(request);
    return new Promise((resolve, reject) => {
      const end = this.callEnding(callMs, reject);
      const arrive = (): void => {
        agent.adopt(request).then(
          (response) => this.back(() => end() && resolve(response)),
          (thrown) => this.back(() => end() && reject(overWire(thrown))),
        );
      };
      this.there(arrive, () => end() && reject(new Error('unavailable')));
    });
  }

  describe(): Promise<DescribeResponse> {
    const { agent } = this.parts;
    return new Promise((resolve, reject) => {
      const end = this.callEnding(callMs, reject);
      const arrive = (): void => {
        agent.describe().then(
          (response) => this.back(() => end() && resolve(response)),
          (thrown) => this.back(() => end() && reject(overWire(thrown))),
        );
      };
      this.there(arrive, () => end() && reject(new Error('unavailable')));
    });
  }

  execute(command: Command, onEvent: (event: CommandEvent) => void): Promise<void> {
    const { agent, clock, network } = this.parts;
    const { commandId } = command;
    this.parts.sending(command);
    const bytes = Command.encode(command).finish();
    return new Promise((resolve, reject) => {
      const end = this.callEnding(undefined, reject);
      let isBroken = false;
      let atMs = 0;
      const stream = (give: () => void): void => {
        isBroken ||= network.breaks(agent.id, this.parts.from);
        if (isBroken) {
          clock.after(aliveMs, () => end() && reject(new Error('connection reset')), this.process);
          return;
        }
        atMs = Math.max(atMs, clock.nowMs + network.delayMs());
        clock.after(atMs - clock.nowMs, give, this.process);
      };
      const arrive = (): void => {
        agent
          .execute(Command.decode(bytes), (event) => stream(() => onEvent({ commandId, event })))
          .then(
            () => stream(() => end() && resolve()),
            (thrown) => stream(() => end() && reject(overWire(thrown))),
          );
      };
      const again = (): void => {
        agent.execute(Command.decode(bytes), () => undefined).catch(() => undefined);
      };
      this.there(arrive, () => end() && reject(new Error('unavailable')), again);
    });
  }

  /** Every call that is under way breaks, and the stream of statuses does not. */
  breakCalls(): void {
    for (const end of [...this.calls]) end();
  }

  close(): void {
    this.isClosed = true;
    this.unwatch();
    for (const end of [...this.calls]) end();
  }

  /** The leader's process is gone: nobody is told. */
  drop(): void {
    this.isClosed = true;
    this.unwatch();
    this.calls.clear();
  }

  /** Carries a call to the node; there it may arrive twice, or long after. */
  private there(arrive: () => void, refuse: () => void, again = arrive): void {
    const { clock, network, agent, from } = this.parts;
    if (network.loses(from, agent.id)) {
      clock.after(aliveMs, refuse, this.process);
      return;
    }
    const deliver = (work: () => void): void => {
      const { process } = agent;
      if (!process.alive || agent.life === undefined) clock.after(network.delayMs(), refuse, this.process);
      else clock.after(0, work, process);
    };
    const lateMs = network.chance('late_calls') ? network.between(500, 6_000) : 0;
    clock.after(network.delayMs() + lateMs, () => deliver(arrive), null);
    if (network.chance('duplicates')) {
      const silently = (): void => {
        if (agent.process.alive && agent.life !== undefined) clock.after(0, again, agent.process);
      };
      clock.after(network.delayMs() + network.between(0, 3_000), silently, null);
    }
  }

  private back(give: () => void): void {
    const { clock, network, agent, from } = this.parts;
    if (!network.loses(agent.id, from)) clock.after(network.delayMs(), give, this.process);
  }

  /** A call that ends once: by its answer, its deadline, the end of the node's process or of the link. */
  private callEnding(deadlineMs: number | undefined, reject: (error: Error) => void): () => boolean {
    const { clock, network, agent } = this.parts;
    let isOver = false;
    const end = (): boolean => {
      if (isOver) return false;
      isOver = true;
      this.calls.delete(broken);
      agent.onDeath.delete(died);
      return true;
    };
    const broken = (): void => {
      if (end()) reject(new Error('connection lost'));
    };
    const died = (): void => {
      clock.after(network.delayMs(), broken, this.process);
    };
    this.calls.add(broken);
    agent.onDeath.add(died);
    if (deadlineMs !== undefined) clock.after(deadlineMs, broken, this.process);
    return end;
  }

  private isDeaf(): boolean {
    const { network, agent, from } = this.parts;
    return network.isCut(from, agent.id) || network.isCut(agent.id, from);
  }

  private open(): void {
    const { clock, network } = this.parts;
    clock.after(network.delayMs(), () => this.tryOpen(), this.process);
  }

  private tryOpen(): void {
    const { agent } = this.parts;
    const { life } = agent;
    if (this.isClosed) return;
    if (life === undefined || this.isDeaf()) {
      this.lose();
      return;
    }
    this.isOpen = true;
    const off = life.status.watch(() => this.tellStatus());
    const died = (): void => {
      this.parts.clock.after(1, () => this.lose(), this.process);
    };
    agent.onDeath.add(died);
    this.unwatch = () => {
      off();
      agent.onDeath.delete(died);
    };
    this.tellStatus();
  }

  /** In the node's process, or beside it: what it says of itself sets out for the leader. */
  private tellStatus(): void {
    const { clock, network, agent, from, emitStatus } = this.parts;
    agent.status().then((status) => {
      if (status === undefined || !this.isOpen || network.isCut(agent.id, from)) return;
      this.statusAtMs = Math.max(this.statusAtMs, clock.nowMs + network.delayMs());
      const arrive = (): void => {
        if (!this.isOpen || this.isClosed) return;
        this.reopenMs = reopenFirstMs;
        emitStatus(status);
      };
      clock.after(this.statusAtMs - clock.nowMs, arrive, this.process);
    });
  }

  private lose(): void {
    const { clock, emitLost } = this.parts;
    if (this.isClosed) return;
    this.isOpen = false;
    this.unwatch();
    emitLost();
    clock.after(this.reopenMs, () => this.open(), this.process);
    this.reopenMs = Math.min(this.reopenMs * 2, reopenMaxMs);
  }

  /** A silent connection is given up, with all that runs over it. */
  private lookAfter(): void {
    const { clock } = this.parts;
    const look = (): void => {
      if (this.isClosed) return;
      clock.after(aliveMs, look, this.process, true);
      if (!this.isDeaf()) return;
      clock.isUrgent = true;
      if (this.isOpen) this.lose();
      for (const end of [...this.calls]) end();
    };
    const ping = (): void => {
      if (this.isClosed) return;
      this.ask();
      clock.after(pingMs, ping, this.process, true);
    };
    clock.after(aliveMs, look, this.process, true);
    clock.after(pingMs, ping, this.process, true);
  }
}

/** What the other side of a gRPC call gets to see of an error. */
function overWire(thrown: unknown): Error {
  if (!(thrown instanceof PlexiError)) return new Error(String(thrown));
  return Object.assign(new Error(thrown.message), toServiceError(thrown));
}
