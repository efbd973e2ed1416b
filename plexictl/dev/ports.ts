/**
 * Free ports on loopback. They are taken from below the range that the system gives to outgoing
 * connections: a service that restarts in the middle of a rollout needs its port again, and must not
 * find it taken by somebody's client socket.
 */
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { PlexiError } from '../../config/errors.js';

const lowest = 10_240;
const highest = 32_767;

/** That many different ports that nobody listens on at this moment. */
export async function freePorts(count: number): Promise<number[]> {
  const found = new Set<number>();
  for (let tries = 0; found.size < count && tries < 50 * count; tries += 1) {
    const port = randomInt(lowest, highest + 1);
    if (!found.has(port) && (await isFree(port))) found.add(port);
  }
  if (found.size < count) {
    throw new PlexiError(
      'CONFLICT',
      `no ${count} free ports between ${lowest} and ${highest} on 127.0.0.1; stop something`,
    );
  }
  return [...found];
}

/** Whether nobody listens on this port of loopback now. */
export async function isFree(port: number): Promise<boolean> {
  const server = createServer();
  server.listen(port, '127.0.0.1');
  try {
    await once(server, 'listening');
  } catch {
    // In use, or not ours to take: both mean another port.
    return false;
  }
  server.close();
  await once(server, 'close');
  return true;
}

/** Whether somebody accepts connections on this port of loopback now. */
export async function isListening(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    // Refused: nobody does.
    return false;
  } finally {
    socket.destroy();
  }
}
