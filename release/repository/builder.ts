/**
 * Which process builds. An id is given out again, so a process is known by its id, its start, and the system
 * that counts both: host, boot and space of process ids, since containers of one host count anew. Invariant:
 * a process is called dead only when that is known; one of another system never is.
 */
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';
import { isErrno } from '../durable-files.js';

/** One process, for ever. */
export interface Builder {
  pid: number;
  host: string;
  /** Boot and space of process ids; empty where the system does not tell. */
  system: string;
  /** Clock ticks from the boot to its start; empty where the system does not tell. */
  started: string;
}

/** A process that its parent has not collected yet. */
const zombie = 'dead';

/** This process. */
export function thisBuilder(): Builder {
  return { pid: process.pid, host: hostname(), system: thisSystem(), started: startOf(process.pid) ?? '' };
}

/** Whether it is known that exactly this process lives no more. */
export function isKnownDead(builder: Builder): boolean {
  if (builder.host !== hostname() || builder.system !== thisSystem()) return false;
  if (!hasProcess(builder.pid)) return true;
  const started = startOf(builder.pid);
  return started !== undefined && started !== builder.started;
}

function thisSystem(): string {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    return `${boot} ${readlinkSync('/proc/self/ns/pid')}`;
  } catch {
    // A machine that is no Linux still builds releases.
    return '';
  }
}

/** Asked of the system itself, because /proc may hide the processes of other users. */
function hasProcess(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (thrown) {
    return !isErrno(thrown, 'ESRCH');
  }
}

/** When a process started; undefined when that cannot be seen. */
function startOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The second field is the program's name in brackets, and may itself hold spaces and brackets.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return 'ZXx'.includes(fields[0] ?? 'X') ? zombie : fields[19];
  } catch {
    return undefined;
  }
}
