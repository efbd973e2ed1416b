/**
 * Reads the system's table of processes (/proc). A process is named by its id and its start time
 * within one boot, because an id alone is given out again; one that is dead but not collected by its
 * parent (a zombie) counts as dead, where `kill -0` counts it as alive (protocol.md, rule 14).
 */
import { readdirSync, readFileSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { isSystemError } from '../disk/durable-file.js';

/** A process that lives now. */
export interface LiveProcess {
  readonly pid: number;
  /** The id of the process that started it, or of the one that took its place. */
  readonly parent: number;
  /** The id of its process group. */
  readonly group: number;
  /** Clock ticks between the boot and its start (/proc/<pid>/stat, field 22). */
  readonly startTicks: number;
}

/** Processes that are looked at before other work of the agent gets its turn: about 2 ms. */
const PROCESSES_PER_TURN = 64;

/** The id of the running boot. Errors: the system's, where there is no /proc. */
export function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}

/** The process with this id; undefined when there is none, or when it is dead. */
export function liveProcess(pid: number): LiveProcess | undefined {
  const entry = tableEntry(pid);
  if (entry === undefined || entry.dead) return undefined;
  return { pid, parent: entry.parent, group: entry.group, startTicks: entry.startTicks };
}

/** When a process was started, also of one that is dead and not yet collected. */
export function startTicksOf(pid: number): number | undefined {
  return tableEntry(pid)?.startTicks;
}

/** Whether exactly this process still lives, and not a later one with its id. */
export function isAlive(process: { pid: number; startTicks: number }): boolean {
  return liveProcess(process.pid)?.startTicks === process.startTicks;
}

/**
 * All live processes that belong to one of these groups, or whose environment at their start held
 * a text. Processes of other users, whose environment is hidden, are not found by the text.
 */
export async function findProcesses(wanted: {
  groups: ReadonlySet<number>;
  environmentText: string;
}): Promise<LiveProcess[]> {
  const found: LiveProcess[] = [];
  const text = Buffer.from(wanted.environmentText);
  const pids = readdirSync('/proc').filter((name) => /^[1-9][0-9]*$/.test(name));
  for (const [index, name] of pids.entries()) {
    if (index % PROCESSES_PER_TURN === PROCESSES_PER_TURN - 1) await nextTurn();
    const pid = Number(name);
    // An agent that was itself started from inside such a service must not end itself.
    if (pid === process.pid) continue;
    const marked = readProcBytes(`/proc/${pid}/environ`)?.includes(text) ?? false;
    if (!marked && wanted.groups.size === 0) continue;
    const candidate = liveProcess(pid);
    if (candidate !== undefined && (marked || wanted.groups.has(candidate.group))) found.push(candidate);
  }
  return found;
}

/** Whether a process group has a member that lives; the dead that nobody collects do not count. */
export function groupLives(group: number): boolean {
  return readdirSync('/proc').some(
    (name) => /^[1-9][0-9]*$/.test(name) && liveProcess(Number(name))?.group === group,
  );
}

/** Whether a process group has a member; a dead one that is not collected counts here. */
export function groupExists(group: number): boolean {
  return signalTo(-group, 0);
}

/** Sends a signal to each process with its whole group, so that what it started gets it too. */
export function signalGroups(processes: readonly LiveProcess[], signal: NodeJS.Signals): void {
  const ownGroup = liveProcess(process.pid)?.group;
  const targets = processes.map(({ pid, group }) => {
    // Group 0 is one outside of this container, and would be read as "my own group".
    return group > 1 && group !== ownGroup ? -group : pid;
  });
  for (const target of new Set(targets)) signalTo(target, signal);
}

/** Sends a signal to a process, or to a group when negative. False when there is none. */
export function signalTo(target: number, signal: NodeJS.Signals | 0): boolean {
  try {
    process.kill(target, signal);
    return true;
  } catch (error) {
    if (isSystemError(error, 'ESRCH')) return false;
    // It exists, and belongs to someone else: the caller's wait will tell.
    if (isSystemError(error, 'EPERM')) return true;
    throw error;
  }
}

function tableEntry(
  pid: number,
): { dead: boolean; parent: number; group: number; startTicks: number } | undefined {
  const stat = readProcBytes(`/proc/${pid}/stat`)?.toString('latin1');
  if (stat === undefined) return undefined;
  // The second field is the program's name in brackets, and may itself hold spaces and brackets.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state = 'X', parent, group] = fields;
  return {
    dead: 'ZXx'.includes(state),
    parent: Number(parent),
    group: Number(group),
    startTicks: Number(fields[19]),
  };
}

function readProcBytes(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch {
    // The process has ended since the folder was listed, or is not ours to look into.
    return undefined;
  }
}
