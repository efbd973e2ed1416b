/**
 * The agent that the crash harnesses kill: a program that reads one order a line from its input, answers
 * with one line each, and blocks in between, so that nothing of it happens while a harness looks, attaches
 * strace, or copies a disk.
 *
 *   {"do":"prepare", root, repository, command}   opens the node and starts its service
 *   {"do":"obey"}                                 carries the command out
 *   {"do":"recover", root, repository}            the start of an agent, to the end of the open job
 *
 * With `stops` in an order it says `{"record": n}` before and behind each journal record, and waits for a
 * line each time.
 */
import { readSync, writeSync } from 'node:fs';
import { asPlexiError } from '../../config/errors.js';
import { Command } from '../../gen/plexi/v1/node_agent.js';
import type { JournalDisk } from '../../node-agent/journal/journal.js';
import { AgentLife, configOf, type Ended } from './agent-life.test.part.js';

/** What a harness says. */
export type DriverOrder =
  | {
      readonly do: 'prepare';
      readonly root: string;
      readonly repository: string;
      readonly command: unknown;
      readonly stops?: boolean;
    }
  | { readonly do: 'obey' }
  | { readonly do: 'recover'; readonly root: string; readonly repository: string };

/** What the driver says. */
export type DriverAnswer =
  | { readonly ready: true; readonly main: number; readonly pool: number }
  | { readonly record: number; readonly isDurable: boolean }
  | { readonly ended: Ended };

/** Called by the launcher with the id of the pool's one thread. */
export async function main(pool: number): Promise<void> {
  const ready: DriverAnswer = { ready: true, main: process.pid, pool };
  say(ready);
  let life: AgentLife | undefined;
  let command: Command | undefined;
  for (let line = hear(); line !== ''; line = hear()) {
    const order: DriverOrder = JSON.parse(line);
    if (order.do === 'prepare') {
      const stopping = order.stops === true ? stoppingDisk : undefined;
      life = await AgentLife.begin(configOf(order.root, order.repository), stopping);
      await life.serve();
      command = Command.fromJSON(order.command);
      say(ready);
    } else {
      const ended = await (order.do === 'obey' ? obey(life, command) : recover(order));
      await life?.end();
      life = undefined;
      say({ ended });
    }
  }
  process.exit(0);
}

function obey(life: AgentLife | undefined, command: Command | undefined): Promise<Ended> {
  if (life === undefined || command === undefined) throw new Error('`prepare` comes before `obey`');
  return life.obey(command);
}

async function recover({ root, repository }: { root: string; repository: string }): Promise<Ended> {
  let life: AgentLife | undefined;
  try {
    life = await AgentLife.begin(configOf(root, repository));
    return await life.recover();
  } catch (thrown) {
    const { code, message } = asPlexiError(thrown, 'INTERNAL', 'the start of the agent');
    return { outcome: 'open', refused: { code, message } };
  } finally {
    await life?.end();
  }
}

/** A disk that stops the whole program before a record is written, and when it has become durable. */
function stoppingDisk(disk: JournalDisk): JournalDisk {
  return {
    list: () => disk.list(),
    read: (name) => disk.read(name),
    remove: (name) => disk.remove(name),
    create: async (name, bytes) => {
      const record = Number.parseInt(name, 10);
      say({ record, isDurable: false });
      hear();
      await disk.create(name, bytes);
      say({ record, isDurable: true });
      hear();
    },
  };
}

function say(answer: DriverAnswer): void {
  writeSync(1, `${JSON.stringify(answer)}\n`);
}

/** The next line, read so that the program stands still; empty at the end of the input. */
function hear(): string {
  const byte = Buffer.alloc(1);
  let line = '';
  while (readSync(0, byte) === 1) {
    if (byte[0] === 10) return line;
    line += byte.toString('latin1');
  }
  return line;
}
