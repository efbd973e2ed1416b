/**
 * The local door of a node: a unix socket in run/, for its owner only. Whoever listens there has the
 * node's state in hand: the running agent, or a word by hand while no agent runs. So there is never a
 * second one beside it, and a word that is said while the agent runs is done by the agent.
 * One line of JSON each way; then the connection ends.
 *
 * The socket listens under a name of its own and is then linked to the door's, which only one can do: so
 * whoever finds the door and nobody behind it has found what a killed agent left. Only that is ever removed,
 * and by one at a time (decision 11).
 */
import { createHash } from 'node:crypto';
import { closeSync, constants, linkSync, openSync, rmSync, statSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import { isSystemError, temporaryBeside } from '../disk/durable-file.js';

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
  // A name that the agent sweeps, should this program be killed before it is removed.
  const own = temporaryBeside(path);
  await listenAt(server, own);
  try {
    await take(path, own);
  } catch (thrown) {
    server.close();
    throw thrown;
  } finally {
    rmSync(own, { force: true });
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

/** Gives a socket that listens the door's name. @throws PlexiError CONFLICT when somebody else has it */
async function take(path: string, own: string): Promise<void> {
  if (isLinked(own, path)) return;
  if (await isAnswered(path)) throw occupied(path);
  const remover = createServer((socket) => socket.destroy());
  // The system knows one of this name at a time, and forgets it with its process: no file is left of it.
  await listenOn(remover, removerOf(path)).catch((thrown) => {
    throw isSystemError(thrown, 'EADDRINUSE') ? occupied(path) : thrown;
  });
  try {
    // Whoever removed what was left may have been another, and may be behind the door by now.
    if (await isAnswered(path)) throw occupied(path);
    rmSync(path, { force: true });
    if (!isLinked(own, path)) throw occupied(path);
  } finally {
    remover.close();
  }
}

/** False when the name is taken: then whoever has it may have swept our own one away. */
function isLinked(own: string, path: string): boolean {
  try {
    linkSync(own, path);
    return true;
  } catch (thrown) {
    if (isSystemError(thrown, 'EEXIST') || isSystemError(thrown, 'ENOENT')) return false;
    throw thrown;
  }
}

/** The name, in no folder, of whoever removes what a killed agent has left at this door. */
function removerOf(path: string): string {
  const { dev, ino } = statSync(dirname(path));
  const door = createHash('sha256')
    .update(`${dev}:${ino}:${basename(path)}`)
    .digest('hex');
  return `\0plexi-node-agent-${door}`;
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

async function listenAt(server: Server, path: string): Promise<void> {
  let listening: Promise<void> | undefined;
  // The socket is made in this very call, so nobody else's file gets these rights.
  const umask = process.umask(0o177);
  try {
    withAddress(path, (address) => {
      listening = listenOn(server, address);
    });
  } finally {
    process.umask(umask);
  }
  await listening;
}

function listenOn(server: Server, address: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(address, resolve);
  });
}

function connectTo(path: string): Promise<Socket | undefined> {
  return new Promise((resolve, reject) => {
    withAddress(path, (address) => {
      const socket = connect(address);
      socket.once('connect', () => resolve(socket));
      socket.once('error', (thrown) => {
        if (isSystemError(thrown, 'ENOENT') || isSystemError(thrown, 'ECONNREFUSED')) resolve(undefined);
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
