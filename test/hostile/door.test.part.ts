/**
 * What anybody can do to a port of ours without saying a word of the protocol, and what a peer with a
 * certificate can do below it: garbage, half-open connections, requests without end, more streams than
 * there may be, messages that lie about their size. After each of them the door answers a good call.
 */
import assert from 'node:assert/strict';
import type { EventEmitter } from 'node:events';
import { readFileSync } from 'node:fs';
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect as connectHttp2,
  constants,
  type IncomingHttpHeaders,
} from 'node:http2';
import { connect, type Socket } from 'node:net';
import { describe, test } from 'node:test';
import { connect as connectTls, type SecureContextOptions, type TLSSocket } from 'node:tls';
import { gzipSync } from 'node:zlib';
import { status } from '@grpc/grpc-js';
import fc from 'fast-check';
import { limits } from '../../config/limits.js';
import type { TlsFiles } from '../../config/tls.js';
import { type Wound, wounded, wounds } from './mutations.test.part.js';
import { hostile, shortTimeMs, timeMs } from './target.test.part.js';

/** A server of ours, and how to see that it lives. */
export interface Door {
  readonly port: number;
  /** Of somebody who may call. */
  readonly files: TlsFiles;
  /** Of another authority. */
  readonly foreign: TlsFiles;
  /** The path of a unary method without side effects. */
  readonly path: string;
  /** A good call over a connection of its own. */
  readonly goodCall: () => Promise<void>;
}

/** Milliseconds that a door may take for the end of a connection that it shall end. */
const patienceMs = 20_000;
/** Milliseconds for one attack with all that it opens. */
const attackMs = 60_000;
/** Bytes by which a process may grow under one attack; far less than the attack asks for. */
const growthMaxBytes = 160 * 1024 * 1024;

/** Registers the attacks as tests. @param moduleUrl the `import.meta.url` of the test's file */
export function attackDoor(moduleUrl: string, what: string, door: () => Door): void {
  const withGoodCall = (name: string, attack: () => Promise<void>): void => {
    test(name, { timeout: attackMs }, async () => {
      const before = process.memoryUsage().rss;
      await attack();
      await door().goodCall();
      const growthBytes = process.memoryUsage().rss - before;
      assert.ok(growthBytes < growthMaxBytes, `the process grew by ${growthBytes} bytes`);
    });
  };

  hostile(moduleUrl, {
    name: `${what}: bytes that are no TLS end the connection`,
    cases: fc.record({ start: fc.constantFrom(...openings), wounds }),
    casesMin: 5,
    check: ({ start, wounds: all }: { start: string; wounds: readonly Wound[] }) =>
      throwAt(connect(door().port, '127.0.0.1'), wounded(Buffer.from(start, 'latin1'), all)),
    after: () => door().goodCall(),
  });

  hostile(moduleUrl, {
    name: `${what}: bytes that are no HTTP/2, from a peer with a certificate, end the connection`,
    cases: fc.record({ start: fc.constantFrom(...frames), wounds }),
    casesMin: 5,
    check: async ({ start, wounds: all }: { start: string; wounds: readonly Wound[] }) =>
      throwAt(await secure(door(), ['h2']), wounded(Buffer.from(start, 'latin1'), all)),
    after: () => door().goodCall(),
  });

  describe(`${what}: who may not come in`, () => {
    withGoodCall('a peer without a certificate', () => {
      const { port, files } = door();
      return refusedAt(port, { ca: readFileSync(files.ca) });
    });
    withGoodCall('a peer with a certificate of another authority', () => {
      const { port, files, foreign } = door();
      const { cert, key } = foreign;
      return refusedAt(port, {
        ca: readFileSync(files.ca),
        cert: readFileSync(cert),
        key: readFileSync(key),
      });
    });
    withGoodCall('a request in HTTP/1.1', async () => {
      const end = await throwAt(
        await secure(door(), ['http/1.1']),
        Buffer.from('GET / HTTP/1.1\r\nHost: a\r\n\r\n'),
      );
      assert.ok(['closed', 'answered'].includes(end), end);
    });
  });

  describe(`${what}: a peer with a certificate that does harm`, () => {
    withGoodCall('many half-open connections', async () => {
      const sockets = await Promise.all(Array.from({ length: 200 }, () => opened(door().port)));
      // The first bytes of a handshake that never goes on.
      for (const socket of sockets) socket.write(Buffer.from('1603010200', 'hex'));
      await door().goodCall();
      for (const socket of sockets) socket.destroy();
    });

    withGoodCall('a message that is longer than any may be', async () => {
      const message = Buffer.alloc(limits.grpcMessageBytes + 1);
      assert.equal(await ask(door(), [framed(message)]), status.RESOURCE_EXHAUSTED);
    });

    withGoodCall('a message that says it has four gigabytes', async () => {
      assert.equal(await ask(door(), [Buffer.from('00ffffffff0a', 'hex')]), status.RESOURCE_EXHAUSTED);
    });

    withGoodCall('a message that unpacks to far more than it may', async () => {
      const bomb = gzipSync(Buffer.alloc(64 * 1024 * 1024));
      const end = await ask(door(), [framed(bomb, 1)], { 'grpc-encoding': 'gzip' });
      assert.equal(end, status.RESOURCE_EXHAUSTED);
    });

    withGoodCall('compression that is none', async () => {
      const end = await ask(door(), [framed(Buffer.from('no gzip'), 1)], { 'grpc-encoding': 'gzip' });
      assert.ok(end === status.INTERNAL || end === status.UNKNOWN, String(end));
    });

    withGoodCall('two messages where there is one', async () => {
      const end = await ask(door(), [framed(Buffer.alloc(0)), framed(Buffer.alloc(0))]);
      assert.ok(end === status.OK || end === status.UNIMPLEMENTED || end === status.INTERNAL, String(end));
    });

    withGoodCall('no message at all', async () => {
      assert.notEqual(await ask(door(), []), status.OK);
    });

    withGoodCall('methods that are not there', async () => {
      for (const path of [
        '/',
        '/a',
        '/plexi.v1.NodeAgentService/',
        '/../../etc/passwd',
        `/${'x'.repeat(8_000)}`,
        '//',
        '/plexi.v1.NodesService/constructor',
        '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo',
      ])
        assert.equal(await ask({ ...door(), path }, [framed(Buffer.alloc(0))]), status.UNIMPLEMENTED, path);
    });

    withGoodCall('headers that mean nothing', async () => {
      for (const [headers, end] of oddHeaders)
        assert.equal(await ask(door(), [framed(Buffer.alloc(0))], headers), end, JSON.stringify(headers));
    });

    withGoodCall('senders that begin a message and never end it', async () => {
      const session = await http2(door());
      const streams = Array.from({ length: 50 }, () => request(session, door().path));
      for (const stream of streams) stream.write(unfinished);
      await door().goodCall();
      session.destroy();
    });

    withGoodCall(
      'senders that never end their message, and say how long they wait: they are answered',
      async () => {
        const session = await http2(door());
        const waits = { 'grpc-timeout': '300m' };
        const streams = Array.from({ length: 50 }, () => request(session, door().path, waits));
        const ends = streams.map((stream) => statusOf(stream, 'end'));
        for (const stream of streams) stream.write(unfinished);
        for (const end of await Promise.all(ends)) assert.equal(end, status.DEADLINE_EXCEEDED);
        session.destroy();
      },
    );

    withGoodCall('more streams than there may be', async () => {
      const session = await http2(door());
      const streams = Array.from({ length: 1_500 }, () => request(session, door().path));
      for (const stream of streams) stream.write(Buffer.from('00', 'hex'));
      await door().goodCall();
      session.destroy();
      await closed(session);
    });

    withGoodCall('streams that are reset as soon as they are opened', async () => {
      const session = await http2(door());
      for (let round = 0; round < 10 && !session.destroyed; round++) {
        const streams = Array.from({ length: 100 }, () => request(session, door().path));
        for (const stream of streams) stream.close(constants.NGHTTP2_CANCEL);
        await Promise.all(streams.map((stream) => closed(stream)));
      }
      session.destroy();
    });

    // The server's ping takes 15 seconds: too long for every run.
    if (timeMs > shortTimeMs) {
      withGoodCall('a sender that never ends its message, and answers no ping: it is ended', async () => {
        const socket = await secure(door(), ['h2']);
        socket.on('error', () => undefined);
        socket.resume();
        socket.write(Buffer.concat([Buffer.from(`${preface}${settings}`, 'latin1'), opening(door().path)]));
        await closed(socket);
      });

      withGoodCall('a peer that was told to go, and stays', async () => {
        const socket = await secure(door(), ['h2']);
        let told = false;
        socket.on('data', () => {
          told = true;
        });
        socket.on('error', () => undefined);
        // An error of the protocol, and then more than anybody reads.
        socket.write(
          Buffer.concat([Buffer.from(`${preface}${settings}${endless}`, 'latin1'), Buffer.alloc(256 * 1024)]),
        );
        await closed(socket);
        assert.ok(told);
      });
    }

    withGoodCall('connections that are reset in the middle of a call', async () => {
      for (let round = 0; round < 20; round++) {
        const below = await opened(door().port);
        const session = await http2(door(), below);
        request(session, door().path).write(framed(Buffer.alloc(1_000)).subarray(0, 500));
        below.resetAndDestroy();
        await closed(session);
      }
    });
  });
}

/**
 * The door ends the connection of this peer, and not a byte of it is meant for the peer. A door that lets one in speaks
 * at once, and would end the connection as well, when nothing more comes.
 */
export async function refusedAt(port: number, options: SecureContextOptions): Promise<void> {
  const ALPNProtocols = ['h2'];
  const checkServerIdentity = (): undefined => undefined;
  const socket = connectTls({ ...options, port, host: '127.0.0.1', ALPNProtocols, checkServerIdentity });
  socket.on('error', () => undefined);
  const admitted = new Promise<never>((_, reject) => {
    socket.once('data', ({ length }) =>
      reject(new Error(`the peer was let in, and was sent ${length} bytes`)),
    );
  });
  socket.write(Buffer.from(preface + settings, 'latin1'));
  try {
    await Promise.race([closed(socket), admitted]);
  } finally {
    socket.destroy();
  }
}

/** How connections begin: other protocols, and the beginnings of our own. */
const openings = [
  ...[
    'GET / HTTP/1.1\r\nHost: a\r\n\r\n',
    'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    'SSH-2.0-x\r\n',
    'PROXY TCP4 1 2 3 4\r\n',
  ],
  ...[
    '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
    '\x16\x03\x01\x40\x00',
    '\x15\x03\x03\x00\x02\x02\x28',
    '\0\0\0\0',
  ],
];

/** The type of the frame with which HTTP/2 says that a connection is over. */
const goAwayFrame = 0x07;
const preface = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
const settings = '\0\0\0\x04\0\0\0\0\0';
/** Headers that never end, and repeat what may be there once. */
const endless = `\0\x40\0\x01\x04\0\0\0\x01${'\x82'.repeat(0x4000)}`;
/** The beginning of a message of 256 bytes, of which nothing more comes. */
const unfinished = Buffer.from('0000000100', 'hex');

/** Headers that say nothing, and the status of a call with them; -1: an answer that is none of gRPC. */
const oddHeaders: readonly (readonly [headers: Record<string, string>, end: number])[] = [
  // More digits than there may be: what is longer than any call.
  [{ 'grpc-timeout': '99999999999999999999S' }, status.OK],
  [{ 'grpc-timeout': '-99S' }, status.OK],
  [{ 'grpc-timeout': 'x' }, status.INTERNAL],
  // What is not compressed may come with any name of a compression.
  [{ 'grpc-encoding': 'br' }, status.OK],
  [{ 'content-type': 'text/plain' }, -1],
  [{ 'x-long': 'x'.repeat(4_000) }, status.OK],
  [{ 'x-bin-bin': '!!!' }, status.OK],
  [{ 'grpc-accept-encoding': ','.repeat(1_000) }, status.OK],
];

/** The frames of a call whose message does not end (RFC 7541 for the names; no table, no Huffman). */
function opening(path: string): Buffer {
  const text = (value: string): Buffer => Buffer.concat([Buffer.from([value.length]), Buffer.from(value)]);
  const post = Buffer.from([0x83, 0x87, 0x04]);
  const [contentType, name] = [Buffer.from([0x0f, 0x10]), Buffer.from([0x00])];
  const headers = Buffer.concat([
    ...[post, text(path), contentType, text('application/grpc'), name, text('te'), text('trailers')],
  ]);
  const [isHeaders, endsHeaders, isData] = [1, 4, 0];
  return Buffer.concat([frame(isHeaders, endsHeaders, headers), frame(isData, 0, unfinished)]);
}

/** A frame of the first stream of a client. */
function frame(type: number, flags: number, payload: Buffer): Buffer {
  const head = Buffer.from([0, 0, 0, type, flags, 0, 0, 0, 1]);
  head.writeUIntBE(payload.length, 0, 3);
  return Buffer.concat([head, payload]);
}

/** The beginning of HTTP/2 with frames that it allows, and that it does not. */
const frames = [
  ...[preface, preface + settings, `${preface}${settings}\0\0\x08\x06\0\0\0\0\0pingpong`],
  `${preface}${settings}${'\0\0\x08\x06\0\0\0\0\0pingpong'.repeat(500)}`,
  `${preface}${settings}${settings.repeat(500)}`,
  `${preface}${settings}${endless}`,
  `${preface}${settings}\0\0\x01\x01\0\0\0\0\x01\x82${'\0\0\x01\x09\0\0\0\0\x01\x82'.repeat(200)}`,
  `${preface}${settings}\0\0\x04\x08\0\0\0\0\0\x7f\xff\xff\xff`,
  `${preface}\xff\xff\xff\0\0\0\0\0\x01`,
];

/**
 * Throws bytes at a connection, ends our side, and waits for the end of theirs. Having been told to go, it
 * goes: the server pings before it ends one that stays (see the attack of that name).
 */
async function throwAt(socket: Socket | TLSSocket, bytes: Uint8Array): Promise<string> {
  const answer: Buffer[] = [];
  socket.on('data', (data: Buffer) => {
    answer.push(data);
    if (isToldToGo(Buffer.concat(answer))) socket.destroySoon();
  });
  // A reset is an answer, too.
  socket.on('error', () => undefined);
  socket.end(bytes);
  await closed(socket);
  return answer.length > 0 ? 'answered' : 'closed';
}

/** Whether one of these frames of HTTP/2 is a GOAWAY (RFC 9113, section 6.8). */
function isToldToGo(frames: Buffer): boolean {
  for (let at = 0; at + 9 <= frames.length; at += 9 + frames.readUIntBE(at, 3))
    if (frames[at + 3] === goAwayFrame) return true;
  return false;
}

/** Resolves once it is closed, with an error or without; fails when the door lets it hang. */
async function closed(what: Socket | ClientHttp2Stream | ClientHttp2Session): Promise<void> {
  if (!(what.closed && what.destroyed)) await told(what, 'close');
}

/** Resolves at the first of these events; fails when none comes in time. */
async function told(what: EventEmitter, ...events: string[]): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  try {
    await new Promise<void>((resolve, reject) => {
      timer = setTimeout(
        () => reject(new Error(`no ${events.join(' or ')} in ${patienceMs} ms`)),
        patienceMs,
      );
      for (const event of events) what.once(event, () => resolve());
    });
  } finally {
    clearTimeout(timer);
  }
}

async function opened(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => undefined);
  await told(socket, 'connect');
  return socket;
}

function tlsOptions({ files }: Door): {
  ca: Buffer;
  cert: Buffer;
  key: Buffer;
  checkServerIdentity: () => undefined;
} {
  const [ca, cert, key] = [files.ca, files.cert, files.key].map((file) => readFileSync(file)) as [
    Buffer,
    Buffer,
    Buffer,
  ];
  return { ca, cert, key, checkServerIdentity: () => undefined };
}

/** A connection as one of ours makes it, below the protocol. */
async function secure(door: Door, ALPNProtocols: string[]): Promise<TLSSocket> {
  const socket = connectTls({ ...tlsOptions(door), host: '127.0.0.1', port: door.port, ALPNProtocols });
  // A server that knows no other protocol than its own may refuse the handshake itself.
  await told(socket, 'secureConnect', 'error', 'close');
  return socket;
}

/** @param below a connection to use; else it makes its own */
async function http2(door: Door, below?: Socket): Promise<ClientHttp2Session> {
  const options = tlsOptions(door);
  const over = { ...options, socket: below, ALPNProtocols: ['h2'] };
  const session = connectHttp2(`https://127.0.0.1:${door.port}`, {
    ...options,
    ...(below && { createConnection: () => connectTls(over) }),
  });
  session.on('error', () => undefined);
  await told(session, 'connect', 'close');
  return session;
}

function request(
  session: ClientHttp2Session,
  path: string,
  more: Record<string, string> = {},
): ClientHttp2Stream {
  const stream = session.request({
    ':method': 'POST',
    ':path': path,
    'content-type': 'application/grpc',
    te: 'trailers',
    ...more,
  });
  stream.on('error', () => undefined);
  stream.resume();
  return stream;
}

/** A message with its five bytes in front. */
function framed(message: Uint8Array, compressed = 0): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt8(compressed, 0);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

/** The gRPC status with which a stream, or their side of it, ends; -1 when it ends without one. */
async function statusOf(stream: ClientHttp2Stream, ends: 'close' | 'end' = 'close'): Promise<number> {
  let ended: unknown;
  for (const event of ['response', 'trailers'])
    stream.on(event, (given: IncomingHttpHeaders) => {
      ended = given['grpc-status'] ?? ended;
    });
  await told(stream, ends);
  return ended === undefined ? -1 : Number(ended);
}

/** One call below the protocol; its gRPC status, or -1 when the stream ended without one. */
async function ask(
  door: Door,
  messages: readonly Uint8Array[],
  headers: Record<string, string> = {},
): Promise<number> {
  const session = await http2(door);
  try {
    const stream = request(session, door.path, headers);
    const end = statusOf(stream);
    for (const message of messages) stream.write(message);
    stream.end();
    return await end;
  } finally {
    session.destroy();
  }
}
