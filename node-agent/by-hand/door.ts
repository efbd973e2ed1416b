/**
 * The local door of a node: a folder in run/, for its owner only, with one unix socket in it. Whoever listens
 * there has the node's state in hand: the running agent, or a word by hand while no agent runs. So there is
 * never a second one beside it, and a word that is said while the agent runs is done by the agent.
 * One line of JSON each way; then the connection ends.
 *
 * The socket listens in a folder of its own, which is then renamed to the door's name. The system does that
 * only where nothing is, or an empty folder: so one can do it. A socket behind which nobody is was left by a
 * killed agent, and is removed first. Each has a name that no other ever has, so whoever comes late removes
 * nothing but what is dead (decision 11).
 */
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmdirSync,
  rmSync,
  unlinkSync,
} from 'node:fs';
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
  const own: Own = { folder: temporaryBeside(path), name: `${randomBytes(9).toString('base64url')}.sock` };
  // Under a name that the agent sweeps, should this program be killed before it has the door's.
  mkdirSync(own.folder, { mode: 0o700 });
  try {
    await listenAt(server, join(own.folder, own.name));
    await take(path, own);
  } catch (thrown) {
    server.close();
    rmSync(own.folder, { recursive: true, force: true });
    throw thrown;
  }
  return {
    close: () =>
      new Promise((resolve) => {
        letGo(path, own);
        for (const socket of sockets) socket.destroy();
        server.close(() => resolve());
      }),
  };
}

/** A socket that listens, in a folder in which nothing else is. */
interface Own {
  readonly folder: string;
  readonly name: string;
}

/** Gives that folder the door's name. @throws PlexiError CONFLICT when somebody else has it */
async function take(path: string, own: Own): Promise<void> {
  if (isMoved(own, path)) return;
  for (const socket of socketsBehind(path)) {
    if (await isAnswered(socket)) throw occupied(path);
    removeDead(socket);
  }
  if (!isMoved(own, path)) throw occupied(path);
}

/** False when somebody is there, dead or alive; and when whoever was has swept our own one away. */
function isMoved({ folder, name }: Own, path: string): boolean {
  try {
    renameSync(folder, path);
  } catch (thrown) {
    const isTaken = ['ENOTEMPTY', 'EEXIST', 'ENOTDIR', 'ENOENT'].some((code) => isSystemError(thrown, code));
    if (isTaken) return false;
    throw thrown;
  }
  // Of a folder that was swept half-way only the name has moved: then nobody has the door.
  return existsSync(join(path, name));
}

/** The sockets behind a door; a door that is a socket itself is one of an older agent. */
function socketsBehind(path: string): string[] {
  try {
    return readdirSync(path).map((name) => join(path, name));
  } catch (thrown) {
    if (isSystemError(thrown, 'ENOENT')) return [];
    if (isSystemError(thrown, 'ENOTDIR')) return [path];
    throw thrown;
  }
}

/** Removes what a killed agent has left. A folder that has come in its place is another one's door, and stays. */
function removeDead(socket: string): void {
  try {
    unlinkSync(socket);
  } catch (thrown) {
    if (!isSystemError(thrown, 'ENOENT') && !isSystemError(thrown, 'EISDIR')) throw thrown;
  }
}

function letGo(path: string, { name }: Own): void {
  rmSync(join(path, name), { force: true });
  try {
    rmdirSync(path);
  } catch (thrown) {
    // Whoever came next has it already; an empty one is in nobody's way.
    if (!['ENOENT', 'ENOTEMPTY', 'EEXIST'].some((code) => isSystemError(thrown, code))) throw thrown;
  }
}

/**
 * Asks whoever listens; undefined when nobody does. Waits as long as the work takes.
 * @throws PlexiError with the code and the sentence of the other side
 */
export async function askAt(path: string, request: unknown): Promise<{ answer: unknown } | undefined> {
  const socket = await connectToAny(socketsBehind(path));
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
        // Reset: whoever listened has ended since.
        const isNobody = ['ENOENT', 'ECONNREFUSED', 'ECONNRESET'].some((code) => isSystemError(thrown, code));
        if (isNobody) resolve(undefined);
        else reject(thrown);
      });
    });
  });
}

async function connectToAny(paths: readonly string[]): Promise<Socket | undefined> {
  for (const path of paths) {
    const socket = await connectTo(path);
    if (socket !== undefined) return socket;
  }
  return undefined;
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
