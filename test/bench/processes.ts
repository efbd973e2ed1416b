/**
 * The processes that a measurement starts, and their end. Invariant: what was started here is ended
 * here, by its id, and a program that does not come up ends the measurement with a sentence.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { isListening } from '../../plexictl/dev/ports.js';

/** Milliseconds for a program to open its port, between two looks, and to end before SIGKILL. */
const openMs = 60_000;
const lookMs = 20;
const endMs = 20_000;

/** Programs under measurement, ended in the reverse of their order. */
export class Processes {
  private readonly children: ChildProcess[] = [];

  /** Starts a program; what it says on stderr is shown unless it is quiet. @returns its process id */
  start(argv: readonly string[], options: { readonly quiet?: boolean } = {}): number {
    const [program = '', ...words] = argv;
    const child = spawn(program, words, {
      stdio: ['ignore', 'ignore', options.quiet === true ? 'ignore' : 'inherit'],
    });
    child.on('error', (error) => process.stderr.write(`${program}: ${error.message}\n`));
    this.children.push(child);
    return child.pid ?? 0;
  }

  /** Ends all of them; resolves when the last one has ended. */
  async end(): Promise<void> {
    for (const child of this.children.splice(0).reverse()) await endChild(child);
  }
}

async function endChild(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  const force = setTimeout(() => child.kill('SIGKILL'), endMs);
  await exited;
  clearTimeout(force);
}

/** Resolves once somebody listens on a port of loopback. Errors: nobody did within a minute. */
export async function listening(port: number): Promise<void> {
  for (const endsMs = performance.now() + openMs; performance.now() < endsMs; ) {
    if (await isListening(port)) return;
    await sleep(lookMs);
  }
  throw new Error(`nothing listens on port ${port} of loopback after ${openMs / 1000} s`);
}

/** User and system time of a process, in seconds (proc(5): fields 14 and 15, in ticks of 10 ms). */
export function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** The most memory that a process has had resident, in MB. */
export function peakMemoryMb(pid: number): number {
  const line = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Math.round(Number(line?.[1] ?? 0) / 1024);
}
