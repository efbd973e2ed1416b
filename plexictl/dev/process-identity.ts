/**
 * Which process is meant: a process id is given out again, also after a restart of the machine, so a
 * process is known by its id together with its start time and the boot in which it was started.
 * A dead one that its parent has not collected yet (a zombie) counts as dead.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { PlexiError } from '../../config/errors.js';

/** One process, for ever: `started` is the boot's id and the clock ticks since it. */
export interface ProcessIdentity {
  readonly pid: number;
  readonly started: string;
}

/** The identity of the process that has this id now; undefined when there is none, or it is dead. */
export function identify(pid: number): ProcessIdentity | undefined {
  const stat = readProc(`/proc/${pid}/stat`)?.toString('latin1');
  if (stat === undefined) return undefined;
  // The second field is the program's name in brackets, and may itself hold spaces and brackets.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state = 'X'] = fields;
  if ('ZXx'.includes(state)) return undefined;
  return { pid, started: `${bootId()}/${fields[19] ?? ''}` };
}

/** Whether exactly this process still lives. */
export function isAlive(identity: ProcessIdentity): boolean {
  return identify(identity.pid)?.started === identity.started;
}

/** All processes that were started with `name=value` in their environment. */
export function processesWithVariable(name: string, value: string): ProcessIdentity[] {
  const wanted = `${name}=${value}`;
  return readdirSync('/proc')
    .filter((entry) => /^[1-9][0-9]*$/.test(entry))
    .filter((entry) => readProc(`/proc/${entry}/environ`)?.toString('utf8').split('\0').includes(wanted))
    .flatMap((entry) => identify(Number(entry)) ?? []);
}

/** Sends a signal to exactly this process; nothing happens when it is gone. */
export function signal(identity: ProcessIdentity, name: NodeJS.Signals): void {
  if (!isAlive(identity)) return;
  try {
    process.kill(identity.pid, name);
  } catch (thrown) {
    // It ended between the two lines.
    if (!(thrown instanceof Error && 'code' in thrown && thrown.code === 'ESRCH')) throw thrown;
  }
}

function bootId(): string {
  const id = readProc('/proc/sys/kernel/random/boot_id')?.toString('utf8').trim();
  if (id === undefined)
    throw new PlexiError('USAGE', 'plexictl dev needs Linux: there is no /proc on this machine');
  return id;
}

function readProc(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch {
    // The process ended since it was listed, or is not ours to look into.
    return undefined;
  }
}
