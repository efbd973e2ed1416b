/**
 * The local door of a node: a unix socket in run/, for its owner only. Whoever listens there has the
 * node's state in hand: the running agent, or a word by hand while no agent runs. So there is never a
 * second one beside it, and a word that is said while the agent runs is done by the agent.
 * One line of JSON each way; then the connection ends.
 */
import { closeSync, constants, openSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';

/** What an address of a unix socket may hold, in bytes. */
const ADDRESS_BYTES_MAX = 107;

export interface Door {
  close(): Promise<void>;
}

/** Answers one request; what it throws is told to whoever asked. */
export type Doorkeeper = (request: unknown) => Promise<unknown>;

/** The place of the door. */
export function doorOf(run: string): string {
  return join(run, 'agent.sock');
}

/** Listens. @throws PlexiError CONFLICT when somebody else does */
export async function openDoor(path: string, answer: Doorkeeper): Promise<Door> {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    // Whoever asked is gone; what was begun goes on.
    socket.on('error', () => socket.destroy());
    serve(socket, answer);
  });
  try {
    await listenAt(server, path);
  } catch (thrown) {
    if (!isCode(thrown, 'EADDRINUSE')) throw thrown;
    if (await isAnswered(path)) throw occupied(path);
    // What an agent has left that was killed.
    rmSync(path, { force: true });
    await listenAt(server, path);
  }
  return {
    close: () =>
      new Promise((resolve) => {
        rmSync(path, { force: true });
        for (const socket of sockets) socket.destroy();
        server.close(() => resolve());
      }),
  };
}

/**
 * Asks whoever listens; undefined when nobody does. Waits as long as the work takes.
 * @throws PlexiError with the code and the sentence of the other side
 */
export async function askAt(path: string, request: unknown): Promise<{ answer: unknown } | undefined> {
  const socket = await connectTo(path);
  if (socket === undefined) return undefined;
  socket.end(`${JSON.stringify(request)}\n`);
  const text = await readAll(socket, limits.grpcMessageBytes);
  if (text === '')
    throw new PlexiError('INTERNAL', `the agent at ${path} ended before it answered; look with status`);
  return { answer: JSON.parse(text) };
}

function listenAt(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    // The socket is made in this very call, so nobody else's file gets these rights.
    const umask = process.umask(0o177);
    try {
      withAddress(path, (address) => server.listen(address, resolve));
    } finally {
      process.umask(umask);
    }
  });
}

function connectTo(path: string): Promise<Socket | undefined> {
  return new Promise((resolve, reject) => {
    withAddress(path, (address) => {
      const socket = connect(address);
      socket.once('connect', () => resolve(socket));
      socket.once('error', (thrown) => {
        if (isCode(thrown, 'ENOENT') || isCode(thrown, 'ECONNREFUSED')) resolve(undefined);
        else reject(thrown);
      });
    });
  });
}

async function isAnswered(path: string): Promise<boolean> {
  const socket = await connectTo(path);
  socket?.destroy();
  return socket !== undefined;
}

/** An address that is too long is named through its folder's descriptor; both calls take it at once. */
function withAddress(path: string, use: (address: string) => void): void {
  if (Buffer.byteLength(path) <= ADDRESS_BYTES_MAX) {
    use(path);
    return;
  }
  const folder = openSync(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    use(`/proc/self/fd/${folder}/${basename(path)}`);
  } finally {
    closeSync(folder);
  }
}

function serve(socket: Socket, answer: Doorkeeper): void {
  readAll(socket, limits.byHandRequestBytes)
    .then((text) => (text === '' ? undefined : answer(JSON.parse(text))))
    .then(
      (value) => socket.end(value === undefined ? '' : `${JSON.stringify({ value })}\n`),
      (thrown) => socket.end(`${JSON.stringify({ error: errorOf(thrown) })}\n`),
    );
}

function readAll(socket: Socket, maxBytes: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const pieces: Buffer[] = [];
    let length = 0;
    socket.on('data', (piece: Buffer) => {
      length += piece.length;
      pieces.push(piece);
      if (length <= maxBytes) return;
      reject(new PlexiError('LIMIT_EXCEEDED', `more than ${maxBytes} bytes came through the local door`));
      socket.destroy();
    });
    socket.on('end', () => resolve(Buffer.concat(pieces).toString('utf8')));
    socket.on('error', reject);
    socket.on('close', () => resolve(''));
  });
}

function errorOf(thrown: unknown): { code: string; message: string } {
  if (thrown instanceof PlexiError) return { code: thrown.code, message: thrown.message };
  return { code: 'INTERNAL', message: thrown instanceof Error ? thrown.message : String(thrown) };
}

function occupied(path: string): PlexiError {
  return new PlexiError(
    'CONFLICT',
    `another agent of this root, or a word by hand, is at work (${path} answers); wait for its end, or stop it`,
  );
}

function isCode(thrown: unknown, code: string): boolean {
  return thrown instanceof Error && 'code' in thrown && thrown.code === code;
}
