/** The tcp probe: whether somebody accepts connections; it proves no more than that. */
import net from 'node:net';
import { splitHostPort } from '../../config/schema/fields.js';
import type { ProbeSample } from './probe-sample.js';

/** Connects once. Errors: the system's, and the signal's. */
export function sampleTcp(address: string, signal: AbortSignal): Promise<ProbeSample> {
  const target = splitHostPort(address);
  if (target === undefined) throw new Error('it is no address; write HOST:PORT');
  return new Promise((resolve, reject) => {
    const socket = net.connect({ ...target, signal });
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.destroy();
      resolve({ result: 'good', reason: `${address} accepts connections` });
    });
  });
}
