/**
 * A TCP proxy that does to a connection what a network does: holds bytes back, loses them, cuts. It
 * knows nothing of what it carries, so a test says at which byte, or at which event, it happens.
 */
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';

/** `up`: from the client to the server. */
type Direction = 'up' | 'down';
/** What happens to the bytes of one direction. */
type Rule = 'pass' | 'hold' | 'lose';

/** Tells how many bytes one connection has carried down, before the last of them are passed on. */
type DownWatcher = (bytes: number) => void;

class Pipe {
  private held: Buffer[] = [];
  downBytes = 0;

  constructor(
    readonly client: Socket,
    readonly server: Socket,
  ) {}

  carry(direction: Direction, chunk: Buffer, rule: Rule): void {
    if (rule === 'lose') return;
    if (rule === 'hold') this.held.push(chunk);
    else this.target(direction).write(chunk);
  }

  release(direction: Direction): void {
    for (const chunk of this.held.splice(0)) this.target(direction).write(chunk);
  }

  cut(): void {
    this.client.destroy();
    this.server.destroy();
  }

  private target(direction: Direction): Socket {
    return direction === 'up' ? this.server : this.client;
  }
}

export class TcpProxy {
  private readonly pipes = new Set<Pipe>();
  private readonly rules: Record<Direction, Rule> = { up: 'pass', down: 'pass' };
  private refusing = false;
  private downWatcher: DownWatcher | undefined;
  private readonly server: Server;
  /** Connections so far. */
  accepted = 0;

  private constructor(private readonly targetPort: number) {
    this.server = createServer((socket) => this.accept(socket));
  }

  static async start(targetPort: number): Promise<TcpProxy> {
    const proxy = new TcpProxy(targetPort);
    proxy.server.listen(0, '127.0.0.1');
    await once(proxy.server, 'listening');
    return proxy;
  }

  get port(): number {
    const address = this.server.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  }

  /** What happens from now on to the bytes of one direction; what was held goes on with `pass`. */
  set(direction: Direction, rule: Rule): void {
    this.rules[direction] = rule;
    if (rule === 'pass') for (const pipe of this.pipes) pipe.release(direction);
  }

  /** Calls back with what each connection has carried down, until another one is set. */
  watchDown(watcher: DownWatcher | undefined): void {
    this.downWatcher = watcher;
  }

  /** Cuts every connection there is. */
  cut(): void {
    for (const pipe of this.pipes) pipe.cut();
    this.pipes.clear();
  }

  /** Cuts, and lets nobody in until it is set to false. */
  refuse(refusing: boolean): void {
    this.refusing = refusing;
    if (refusing) this.cut();
  }

  async stop(): Promise<void> {
    // Whoever connects from now on would keep it from closing, and the test with it.
    this.refuse(true);
    this.server.close();
    this.cut();
    await once(this.server, 'close');
  }

  private accept(client: Socket): void {
    if (this.refusing) {
      client.destroy();
      return;
    }
    this.accepted += 1;
    const server = connect(this.targetPort, '127.0.0.1');
    const pipe = new Pipe(client, server);
    this.pipes.add(pipe);
    const end = (): void => {
      this.pipes.delete(pipe);
      pipe.cut();
    };
    for (const socket of [client, server]) {
      socket.setNoDelay(true);
      // What breaks one side breaks the other; which error it was is of no interest.
      socket.on('error', end);
      socket.on('close', end);
    }
    client.on('data', (chunk) => pipe.carry('up', chunk, this.rules.up));
    server.on('data', (chunk) => {
      pipe.downBytes += chunk.byteLength;
      this.downWatcher?.(pipe.downBytes);
      if (!client.destroyed) pipe.carry('down', chunk, this.rules.down);
    });
  }
}
