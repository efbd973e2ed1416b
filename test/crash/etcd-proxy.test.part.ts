/**
 * A proxy before etcd that understands its calls: gRPC over HTTP/2, with TLS ended on both sides. It counts
 * the transactions that pass, and cuts off whoever goes through it at the k-th: before etcd has it, or when
 * etcd has committed it and nobody was told. From then on it lets nobody in, so whoever was cut off is, for
 * etcd, as dead as a killed process.
 */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import {
  type ClientHttp2Session,
  connect,
  constants,
  createSecureServer,
  type Http2SecureServer,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import type { EtcdConnection } from '../../controller/leadership/etcd.js';

const transactionPath = '/etcdserverpb.KV/Txn';

/** Where the connection breaks: at the nth transaction that is counted, before or behind its effect. */
export interface Cut {
  readonly nth: number;
  readonly effect: 'lost' | 'kept';
}

export class EtcdProxy {
  private readonly sessions = new Set<ServerHttp2Session>();
  private cutAt: Cut | undefined;
  private isCounting = false;
  private isDown = false;
  /** Transactions since the count began. */
  counted = 0;
  /** Resolves when the cut has happened. */
  readonly wasCut: Promise<void>;
  private tellCut: () => void = () => undefined;

  private constructor(
    private readonly server: Http2SecureServer,
    private readonly target: ClientHttp2Session,
  ) {
    this.wasCut = new Promise((resolve) => {
      this.tellCut = resolve;
    });
  }

  /** A proxy before an etcd with certificates, which it shows to both sides. */
  static async start({ endpoints: [endpoint = ''], tls }: EtcdConnection): Promise<EtcdProxy> {
    if (tls === undefined) throw new Error('the proxy speaks TLS only');
    const [ca, cert, key] = [tls.ca, tls.cert, tls.key].map((file) => readFileSync(file));
    const server = createSecureServer({ ca, cert, key, requestCert: true });
    // By its name, because TLS sends no address as a server's name.
    const target = connect(endpoint.replace('127.0.0.1', 'localhost'), { ca, cert, key });
    target.on('error', () => undefined);
    const proxy = new EtcdProxy(server, target);
    server.on('session', (session) => proxy.admit(session));
    server.on('stream', (stream, headers) => proxy.carry(stream, headers));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return proxy;
  }

  get port(): number {
    const address = this.server.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  }

  /** Begins to count transactions, and breaks at one of them when it is told to. */
  count(cut?: Cut): void {
    this.isCounting = true;
    this.cutAt = cut;
  }

  /** Breaks every connection, and lets nobody in any more. */
  cut(): void {
    if (this.isDown) return;
    this.isDown = true;
    for (const session of this.sessions) session.destroy();
    this.target.destroy();
    this.tellCut();
  }

  async stop(): Promise<void> {
    this.cut();
    this.server.close();
    await once(this.server, 'close');
  }

  private admit(session: ServerHttp2Session): void {
    session.on('error', () => undefined);
    this.sessions.add(session);
    session.on('close', () => this.sessions.delete(session));
    if (this.isDown) session.destroy();
  }

  private carry(client: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
    // A stream that breaks is told of by its end.
    client.on('error', () => undefined);
    const effect = this.effectOf(headers);
    if (effect === 'lost') this.cut();
    if (this.isDown) client.close(constants.NGHTTP2_REFUSED_STREAM);
    else this.pass(client, headers, effect === 'kept');
  }

  /** @param isCutBehind the answer is not passed on, and ends everything */
  private pass(client: ServerHttp2Stream, headers: IncomingHttpHeaders, isCutBehind: boolean): void {
    const server = this.target.request(headers, { endStream: false });
    server.on('error', () => client.close(constants.NGHTTP2_INTERNAL_ERROR));
    client.on('close', () => server.close(constants.NGHTTP2_CANCEL));
    client.on('data', (chunk) => server.write(chunk));
    client.on('end', () => server.end());
    if (isCutBehind) server.on('response', () => this.cut());
    else answerWith(client, server);
  }

  /** What becomes of a request; undefined: nothing special. */
  private effectOf(headers: IncomingHttpHeaders): Cut['effect'] | undefined {
    if (!this.isCounting || headers[constants.HTTP2_HEADER_PATH] !== transactionPath) return undefined;
    this.counted += 1;
    return this.counted === this.cutAt?.nth ? this.cutAt.effect : undefined;
  }
}

/** Headers, messages, and what gRPC says last. */
function answerWith(client: ServerHttp2Stream, server: ReturnType<ClientHttp2Session['request']>): void {
  let trailers: IncomingHttpHeaders = {};
  server.on('response', (headers, flags) => {
    const endStream = (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0;
    if (!client.destroyed) client.respond(headers, { endStream, waitForTrailers: !endStream });
  });
  server.on('trailers', (last) => {
    trailers = last;
  });
  client.on('wantTrailers', () => client.sendTrailers(trailers));
  server.on('data', (chunk) => {
    if (!client.destroyed) client.write(chunk);
  });
  server.on('end', () => client.end());
}
