/**
 * What shows that a fault happened. A proof asks directly: through a line that is cut nobody answers, at a dead
 * process the machine refuses, a frozen one is stopped by the kernel's own word. A case without it shows nothing.
 */
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { eventually } from './asking.test.part.js';
import type { Place } from './real-etcd.test.part.js';

/** Resolves to what it has seen; throws when the fault did not happen. */
export type Proof = () => Promise<string>;

/** Milliseconds without a word that count as silence; the kernel of the other side answers at once. */
const silentMs = 500;
/** Milliseconds for a program that asks to start, on a machine that is busy. */
const programMs = 30_000;
/** Milliseconds within which a signal has stopped a process, on a machine that is busy. */
const stopMs = 5_000;

type Answer = 'answered' | 'refused' | 'silent';

/** Asks from within a network. A timer that is late looks once more, for what came in between counts. */
const program = `
const [host, port, silentMs] = process.argv.slice(1);
const socket = require('node:net').connect({ host, port: Number(port) });
const say = (word) => { console.log(word); process.exit(); };
socket.on('connect', () => say('answered'));
socket.on('error', ({ code }) => say(code === 'ECONNREFUSED' || code === 'ECONNRESET' ? 'refused' : 'silent'));
setTimeout(() => setTimeout(say, 20, 'silent'), Number(silentMs));
`;

/** How the machine of an address, as host and port, answers a connection from a place. */
export async function answerAt(from: Place, address: string): Promise<Answer> {
  const colon = address.lastIndexOf(':');
  const asked = [address.slice(0, colon), address.slice(colon + 1), String(silentMs)];
  const [first = '', ...words] = [...from.prefix, process.execPath, '-e', program, ...asked];
  const { stdout } = await promisify(execFile)(first, words, { timeout: programMs });
  const answer = stdout.trim();
  if (answer === 'answered' || answer === 'refused' || answer === 'silent') return answer;
  throw new Error(`the question to ${address} ended with: ${answer}`);
}

/** Nothing comes back from there: the line is cut, in this direction or in the other. */
export function silent(from: Place, address: string): Proof {
  return () => isAnswered(from, address, 'silent');
}

/** Nobody listens there any more. */
export function dead(from: Place, address: string): Proof {
  return () => isAnswered(from, address, 'refused');
}

async function isAnswered(from: Place, address: string, wanted: Answer): Promise<string> {
  const answer = await answerAt(from, address);
  const what = `${address} is ${answer} to ${from.prefix.at(-1) ?? 'the test'}`;
  if (answer !== wanted) throw new Error(`${what}, and not ${wanted}`);
  return what;
}

/** The process stands still, or does within some milliseconds. */
export function stopped(pid: number | undefined, withinMs = stopMs): Proof {
  return async () => {
    const state = async (): Promise<string> => {
      const text = await readFile(`/proc/${pid}/stat`, 'utf8');
      // Behind the name, which may hold anything but ends with the last bracket.
      return text.slice(text.lastIndexOf(')') + 2, text.lastIndexOf(')') + 3);
    };
    await eventually(state, (letter) => letter === 'T', `process ${pid} is not stopped`, withinMs);
    return `process ${pid} is stopped`;
  };
}
