/**
 * Reads the system's table of processes (/proc). A process is named by its id and its start time
 * within one boot, because an id alone is given out again; one that is dead but not collected by its
 * parent (a zombie) counts as dead, where `kill -0` counts it as alive (protocol.md, rule 14).
 */
import { closeSync, openSync, readdirSync, readFileSync, readSync } from 'node:fs';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
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
/** Times that the table is read in one search; a machine that starts processes without end ends it. */
const SEARCH_ROUNDS_MAX = 10;
/**
 * While a process executes another program it shows neither environment nor words: its new memory is in use before
 * they are in it (Linux, fs/exec.c and fs/binfmt_elf.c). That is over in less than a millisecond, or as soon as a
 * slow disk has given the program. It is looked at again after a pause, and not for ever.
 */
const EXEC_PAUSE_MS = 2;
const EXEC_LOOKS_MAX = 500;
/** Looks at a process that shows words, and no environment: these come one after the other. */
const BARE_LOOKS = 3;
/** Of a thread of the kernel, which has neither (PF_KTHREAD in /proc/<pid>/stat, field 9). */
const KERNEL_THREAD = 0x0020_0000;

/** Read once: a process does not outlive its boot. */
let knownBootId: string | undefined;

/** The id of the running boot. Errors: the system's, where there is no /proc. */
export function bootId(): string {
  knownBootId ??= readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  return knownBootId;
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

/** Which processes are looked for. */
export interface WantedProcesses {
  readonly groups: ReadonlySet<number>;
  /** A text in the environment that a process was started with. */
  readonly environmentText: string;
  /** Texts that the environment must not hold. */
  readonly withoutTexts?: readonly string[];
}

/**
 * All live processes that belong to one of these groups, or whose environment at their start held
 * a text. Processes of other users, whose environment is hidden, are not found by the text.
 * The table is read again until it holds no process that was not looked at: so one that was begun by
 * another while this search ran is found as well, and so is one that executed a program at that moment.
 */
export async function findProcesses(wanted: WantedProcesses): Promise<LiveProcess[]> {
  const found: LiveProcess[] = [];
  // An agent that was itself started from inside such a service must not end itself.
  const seen = new Set([process.pid]);
  const isWanted = matcher(wanted);
  const looks = new Map<number, number>();
  for (let round = 0; round < SEARCH_ROUNDS_MAX + EXEC_LOOKS_MAX; round++) {
    const unseen = allPids().filter((pid) => !seen.has(pid) && (round < SEARCH_ROUNDS_MAX || looks.has(pid)));
    if (unseen.length === 0) break;
    if (round > 0 && unseen.every((pid) => looks.has(pid))) await sleep(EXEC_PAUSE_MS);
    for (const [index, pid] of unseen.entries()) {
      if (index % PROCESSES_PER_TURN === PROCESSES_PER_TURN - 1) await nextTurn();
      const candidate = isWanted(pid, looks.get(pid) ?? 0);
      if (candidate === 'look again') looks.set(pid, (looks.get(pid) ?? 0) + 1);
      else seen.add(pid);
      if (typeof candidate === 'object') found.push(candidate);
    }
  }
  return found;
}

/** Tells whether a process is one of the wanted, by its id. */
function matcher({ groups, environmentText, withoutTexts = [] }: WantedProcesses) {
  const text = Buffer.from(environmentText);
  const without = withoutTexts.map((one) => Buffer.from(one));
  return (pid: number, looks: number): LiveProcess | 'look again' | undefined => {
    const environment = readProcBytes(`/proc/${pid}/environ`);
    const isEmpty = environment?.length === 0;
    const marked = environment?.includes(text) === true && !without.some((one) => environment.includes(one));
    if (!marked && !isEmpty && groups.size === 0) return undefined;
    const candidate = liveProcess(pid);
    if (candidate === undefined || marked || groups.has(candidate.group)) return candidate;
    return isEmpty && mayBeInExec(pid, looks) ? 'look again' : undefined;
  };
}

/** Whether a process without an environment may be one that executes a program at this moment. */
function mayBeInExec(pid: number, looks: number): boolean {
  if (tableEntry(pid)?.kernelThread !== false) return false;
  const words = readProcBytes(`/proc/${pid}/cmdline`);
  return words !== undefined && looks < (words.length > 0 ? BARE_LOOKS : EXEC_LOOKS_MAX);
}

/**
 * A process with everything that descends from it and lives, as the system's table has it now. Costs
 * little, and misses what has lost its parent.
 */
export function processTree(root: LiveProcess): LiveProcess[] {
  const tree = [root];
  const seen = new Set([root.pid, process.pid]);
  for (const { pid } of tree) {
    for (const child of childrenOf(pid)) {
      const live = seen.has(child) ? undefined : liveProcess(child);
      seen.add(child);
      if (live !== undefined) tree.push(live);
    }
  }
  return tree;
}

/** Every thread of a process has a list of its own of what it has started. */
function childrenOf(pid: number): number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).flatMap((thread) => {
      const list = readProcBytes(`/proc/${pid}/task/${thread}/children`)?.toString('latin1') ?? '';
      return list.split(' ').filter(Boolean).map(Number);
    });
  } catch {
    // The process has ended meanwhile.
    return [];
  }
}

/** The ids of all processes that can be seen. */
export function allPids(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^[1-9][0-9]*$/.test(name))
    .map(Number);
}

/** Whether a process group has a member that lives; the dead that nobody collects do not count. */
export function groupLives(group: number): boolean {
  return allPids().some((pid) => liveProcess(pid)?.group === group);
}

/** Whether a process group has a member; a dead one that is not collected counts here. */
export function groupExists(group: number): boolean {
  return signalTo(-group, 0);
}

/**
 * Sends a signal to each process, and to its whole group, so that what it started gets it too. A group
 * that somebody else leads (the shell that a service was started from) is left alone.
 */
export function signalGroups(processes: readonly LiveProcess[], signal: NodeJS.Signals): void {
  const ownGroup = liveProcess(process.pid)?.group;
  const pids = new Set(processes.map(({ pid }) => pid));
  const targets = processes.map(({ pid, group }) => {
    // Group 0 is one outside of this container, and would be read as "my own group".
    const isTheirs = group > 1 && group !== ownGroup && (pids.has(group) || liveProcess(group) === undefined);
    return isTheirs ? -group : pid;
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
): { dead: boolean; parent: number; group: number; kernelThread: boolean; startTicks: number } | undefined {
  const stat = readProcBytes(`/proc/${pid}/stat`)?.toString('latin1');
  if (stat === undefined) return undefined;
  // The second field is the program's name in brackets, and may itself hold spaces and brackets.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state = 'X', parent, group] = fields;
  return {
    dead: 'ZXx'.includes(state),
    parent: Number(parent),
    group: Number(group),
    kernelThread: (Number(fields[6]) & KERNEL_THREAD) !== 0,
    startTicks: Number(fields[19]),
  };
}

/**
 * Where a file of /proc is read to: such a file tells no size, and `readFileSync` takes 64 KiB anew for
 * each one, hundreds of times in a search. It grows to the longest environment that was met.
 */
let scratch = Buffer.allocUnsafe(64 * 1024);

/** The content of a file of /proc, only until the next one is read; undefined when it cannot be had. */
function readProcBytes(path: string): Buffer | undefined {
  let file: number | undefined;
  try {
    file = openSync(path, 'r');
    let length = 0;
    for (let got = -1; got !== 0; length += got) {
      if (length === scratch.length) scratch = Buffer.concat([scratch], 2 * length);
      got = readSync(file, scratch, length, scratch.length - length, null);
    }
    return scratch.subarray(0, length);
  } catch {
    // The process has ended since the folder was listed, or is not ours to look into.
    return undefined;
  } finally {
    if (file !== undefined) closeSync(file);
  }
}
