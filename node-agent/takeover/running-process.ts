/**
 * Finds the one process that runs from a folder: its program lies there, or it listens where the probes
 * ask. A process that merely stands in the folder (a shell, an editor) is taken only when nothing else is
 * there. Invariant: exactly one tree of processes is left, or nothing is taken over; and no sentence
 * repeats a command line.
 */
import { readFileSync, readlinkSync, statSync } from 'node:fs';
import { realpath } from 'node:fs/promises';
import { basename, sep } from 'node:path';
import { PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import type { ProbeConfig } from '../../config/schema/probes.js';
import { isSystemError } from '../disk/durable-file.js';
import type { LiveProcess } from '../service/process-table.js';
import { eldestOf, liveProcesses } from '../service/process-tree.js';
import { listenersOn, loopbackPorts } from './listeners.js';
import { scriptOf } from './own-program.js';

/** A process that runs from the folder. */
export interface FolderProcess extends LiveProcess {
  /** Its command line. */
  readonly argv: readonly string[];
  /** The folder it stands in, absolute. */
  readonly cwd: string;
}

/** Processes that one sentence names. */
const processesShown = 10;
/** What the system says when a process has ended, or is not ours to look into. */
const notToBeSeen = ['ENOENT', 'ESRCH', 'EACCES', 'EPERM', 'ENOTDIR'];

/** What runs from a folder, or seems to. */
interface Candidates {
  /** The eldest of those that run a program of the folder, or listen where the probes ask. */
  readonly sure: readonly FolderProcess[];
  /** The eldest of those that only stand in the folder, and have nothing to do with the sure ones. */
  readonly besides: readonly FolderProcess[];
  /** Who listens where the probes ask, in the folder or elsewhere. */
  readonly listeners: readonly LiveProcess[];
  /** Whether one of the sure ones, or what it has started, listens there. */
  readonly isHeard: boolean;
}

/**
 * The processes that could be the folder's service, of the agent's own user (as root: of anyone).
 * @param folder its real path
 * @param probes how the service's health is told
 */
export async function processesOf(folder: string, probes: readonly ProbeConfig[]): Promise<FolderProcess[]> {
  const { sure, besides } = await candidatesOf(folder, probes);
  return [...sure, ...besides];
}

/**
 * The one of them that is the service: what listens where the probes ask, or else the only one.
 * @throws PlexiError TAKE_OVER_FAILED when there is none, or when it cannot be told
 */
export async function processOf(folder: string, probes: readonly ProbeConfig[]): Promise<FolderProcess> {
  const { sure, besides, listeners, isHeard } = await candidatesOf(folder, probes);
  const [first] = [...sure, ...besides];
  if (first === undefined)
    throw new PlexiError(
      'TAKE_OVER_FAILED',
      `no process of this user runs from ${folder}; start the service, or name the folder that it runs from`,
    );
  if (listeners.length > 0 && !isHeard)
    throw new PlexiError(
      'TAKE_OVER_FAILED',
      `${named(listeners)} listens where the probes ask, and does not run from ${folder}; name the folder that it runs from, or let the probes ask the service itself`,
    );
  // Who only stands in the folder counts as long as nobody else says who is the service.
  const left = isHeard ? sure : [...sure, ...besides];
  if (left.length === 1) return first;
  throw new PlexiError(
    'TAKE_OVER_FAILED',
    `${left.length} processes run from ${folder}: ${named(left)}; end all but the service, or start it from one program`,
    { details: { pids: left.map(({ pid }) => pid) } },
  );
}

/**
 * What may be a service that an agent does not know: whatever runs a program of the folder, and whoever
 * listens where the probes ask. Nobody who merely stands in the folder.
 * @param folder its real path
 */
export async function serviceLike(folder: string, probes: readonly ProbeConfig[]): Promise<LiveProcess[]> {
  const { sure, listeners } = await candidatesOf(folder, probes);
  return [...sure, ...listeners];
}

async function candidatesOf(folder: string, probes: readonly ProbeConfig[]): Promise<Candidates> {
  const all = await liveProcesses();
  const holders = await listenersOn(loopbackPorts(probes), all);
  const sure: FolderProcess[] = [];
  const standing: FolderProcess[] = [];
  for (const candidate of all) {
    const found = looked(() => lookInto(candidate));
    if (found === undefined) continue;
    const stands = isInside(folder, found.cwd);
    if (runsProgramOf(found, folder) || (stands && holders.has(found.pid))) sure.push(found);
    else if (stands) standing.push(found);
  }
  const above = ancestry(all);
  const isKin = (one: LiveProcess): boolean =>
    sure.some(({ pid }) => above(pid).has(one.pid) || above(one.pid).has(pid));
  return {
    sure: await eldestOf(sure),
    // The shell that the service was started from stands there too, and so does what the service started.
    besides: await eldestOf(standing.filter((one) => !isKin(one))),
    listeners: all.filter(({ pid }) => holders.has(pid)),
    isHeard: [...holders].some((pid) => sure.some((one) => one.pid === pid || above(pid).has(one.pid))),
  };
}

/** Tells who has started a process, directly or through others. */
function ancestry(all: readonly LiveProcess[]): (pid: number) => Set<number> {
  const parents = new Map(all.map(({ pid, parent }) => [pid, parent]));
  return (pid) => {
    const found = new Set<number>();
    for (let at = parents.get(pid); at !== undefined && !found.has(at); at = parents.get(at)) found.add(at);
    return found;
  };
}

/** Which processes, by number and program only: their other words may hold a secret. */
function named(processes: readonly LiveProcess[]): string {
  const list = processes.slice(0, processesShown).map(({ pid }) => {
    const executable = looked(() => withoutMark(readlinkSync(`/proc/${pid}/exe`)));
    return executable === undefined ? String(pid) : `${pid} (${basename(executable)})`;
  });
  return `${list.join(', ')}${processes.length > processesShown ? ', …' : ''}`;
}

/** Whether a path is the folder, or inside it. */
export function isInside(folder: string, path: string): boolean {
  return path === folder || path.startsWith(folder.endsWith(sep) ? folder : `${folder}${sep}`);
}

/** The real path of what is there; undefined when nothing is. */
export async function realPathOf(path: string): Promise<string | undefined> {
  try {
    return await realpath(path);
  } catch (thrown) {
    if (isSystemError(thrown, 'ENOENT') || isSystemError(thrown, 'ENOTDIR')) return undefined;
    throw thrown;
  }
}

function lookInto(process: LiveProcess): FolderProcess | undefined {
  const place = `/proc/${process.pid}`;
  if (!isOurs(place)) return undefined;
  const bytes = readFileSync(`${place}/cmdline`);
  // Nothing stands there for what belongs to the system itself.
  if (bytes.length === 0 || bytes.length > limits.argvWords * limits.argvChars) return undefined;
  const argv = bytes.toString('utf8').replace(/\0+$/, '').split('\0');
  return { ...process, argv, cwd: withoutMark(readlinkSync(`${place}/cwd`)) };
}

function isOurs(place: string): boolean {
  const own = process.geteuid?.() ?? 0;
  return own === 0 || statSync(place).uid === own;
}

function runsProgramOf(found: FolderProcess, folder: string): boolean {
  const executable = looked(() => withoutMark(readlinkSync(`/proc/${found.pid}/exe`)));
  if (executable === undefined) return false;
  if (isInside(folder, executable)) return true;
  const script = looked(() => scriptOf(executable, found));
  return script !== undefined && isInside(folder, script);
}

/** The system's mark for a file that was removed or replaced since. */
function withoutMark(path: string): string {
  return path.replace(/ \(deleted\)$/, '');
}

/** What a look gives; undefined when the process has ended, or may not be looked at. */
function looked<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch (thrown) {
    if (notToBeSeen.some((code) => isSystemError(thrown, code))) return undefined;
    throw thrown;
  }
}
