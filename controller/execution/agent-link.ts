/**
 * The leader's line to one node: a WatchStatus stream that is built anew when it breaks, and the
 * calls that the engine asks for. It decides nothing: what it hears it passes on.
 */
import { type ClientDuplexStream, type ClientReadableStream, Metadata } from '@grpc/grpc-js';
import type { Logger } from 'pino';
import { closeChannel } from '../../config/close-channel.js';
import { limits } from '../../config/limits.js';
import { grpcChannel } from '../../config/tls.js';
import type { TlsFiles } from '../../config/tls-files.js';
import {
  type AdoptRequest,
  type AdoptResponse,
  type Command,
  type CommandEvent,
  type DescribeResponse,
  type ExecuteResponse,
  NodeAgentServiceClient,
  type NodeStatus,
  type Token,
  type WatchStatusRequest,
  type WatchStatusResponse,
} from '../../gen/plexi/v1/node_agent.js';

export interface AgentLinkTarget {
  readonly node: string;
  readonly address: string;
  readonly cluster: string;
  readonly tls: TlsFiles;
}

export interface AgentLinkListener {
  status(status: NodeStatus): void;
  /** The stream broke, or could not be opened. */
  lost(reason: string): void;
}

/** Milliseconds before the stream is opened again: at first, and at the most. */
const reopenFirstMs = 200;
const reopenMaxMs = 5_000;
/** Milliseconds between two pings, by which a node knows that a controller looks after it (protocol, rule 5). */
const pingMs = 10_000;

export class AgentLink {
  private readonly client: NodeAgentServiceClient;
  private stream: ClientDuplexStream<WatchStatusRequest, WatchStatusResponse> | undefined;
  private reopenMs = reopenFirstMs;
  private timer: NodeJS.Timeout | undefined;
  private readonly pinger: NodeJS.Timeout;
  private closed = false;

  constructor(
    readonly target: AgentLinkTarget,
    private readonly token: () => Token,
    private readonly listener: AgentLinkListener,
    private readonly log: Logger,
  ) {
    const { credentials, options } = grpcChannel(target.tls, {
      cluster: target.cluster,
      role: 'agent',
      name: target.node,
    });
    this.client = new NodeAgentServiceClient(target.address, credentials, options);
    this.pinger = setInterval(() => this.ask(), pingMs);
    this.open();
  }

  /** Asks for the status now. */
  ask(): void {
    this.stream?.write({ token: this.token() });
  }

  adopt(request: AdoptRequest): Promise<AdoptResponse> {
    return new Promise((resolve, reject) => {
      this.client.adopt(
        request,
        new Metadata(),
        { deadline: Date.now() + limits.grpcCallMs },
        (error, response) => (error === null ? resolve(response) : reject(error)),
      );
    });
  }

  /** What the node is, and the highest token that it has seen. */
  describe(): Promise<DescribeResponse> {
    return new Promise((resolve, reject) => {
      const options = { deadline: Date.now() + limits.grpcCallMs };
      this.client.describe({}, new Metadata(), options, (error, response) =>
        error === null ? resolve(response) : reject(error),
      );
    });
  }

  /** Sends a command; resolves when the stream has ended, rejects with what gRPC says. */
  execute(command: Command, onEvent: (event: CommandEvent) => void): Promise<void> {
    return new Promise((resolve, reject) => {
      const stream: ClientReadableStream<ExecuteResponse> = this.client.execute({ command });
      stream.on('data', (response: ExecuteResponse) => response.event && onEvent(response.event));
      stream.on('error', reject);
      stream.on('end', resolve);
    });
  }

  close(): void {
    this.closed = true;
    clearInterval(this.pinger);
    clearTimeout(this.timer);
    this.stream?.cancel();
    closeChannel(this.client);
  }

  private open(): void {
    const stream = this.client.watchStatus();
    this.stream = stream;
    let ended = false;
    const end = (reason: string): void => {
      if (ended) return;
      ended = true;
      this.stream = undefined;
      if (this.closed) return;
      this.listener.lost(reason);
      this.log.debug({ node: this.target.node, reason }, 'the line to the node broke');
      this.timer = setTimeout(() => this.open(), this.reopenMs);
      this.reopenMs = Math.min(this.reopenMs * 2, reopenMaxMs);
    };
    stream.on('data', ({ status }: WatchStatusResponse) => {
      if (status === undefined) return;
      this.reopenMs = reopenFirstMs;
      this.listener.status(status);
    });
    stream.on('error', (error: Error) => end(error.message));
    stream.on('end', () => end('the node ended the stream'));
    stream.write({ token: this.token() });
  }
}
