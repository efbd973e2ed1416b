/**
 * Finds the one process that runs from a folder. What counts is its program: an executable or a script
 * inside the folder; a process that merely stands in the folder (a shell, an editor) is taken only when
 * nothing else is there. Invariant: exactly one tree of processes is found, or nothing is taken over.
 */
import { readFileSync, readlinkSync, realpathSync, statSync } from 'node:fs';
import { realpath } from 'node:fs/promises';
import { resolve, sep } from 'node:path';
import { PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import { isSystemError } from '../disk/durable-file.js';
import type { LiveProcess } from '../service/process-table.js';
import { eldestOf, liveProcesses } from '../service/process-tree.js';

/** A process that runs from the folder. */
export interface FolderProcess extends LiveProcess {
  /** Its command line. */
  readonly argv: readonly string[];
  /** The folder it stands in, absolute. */
  readonly cwd: string;
}

/** What the system says when a process has ended, or is not ours to look into. */
const notToBeSeen = ['ENOENT', 'ESRCH', 'EACCES', 'EPERM', 'ENOTDIR'];

/**
 * The eldest of the processes that run from a folder, of the agent's own user (as root: of anyone).
 * @param folder its real path
 */
export async function processesOf(folder: string): Promise<FolderProcess[]> {
  const byProgram: FolderProcess[] = [];
  const byPlace: FolderProcess[] = [];
  for (const candidate of await liveProcesses()) {
    const found = looked(() => lookInto(candidate));
    if (found === undefined) continue;
    if (runsProgramOf(found, folder)) byProgram.push(found);
    else if (isInside(folder, found.cwd)) byPlace.push(found);
  }
  return eldestOf(byProgram.length > 0 ? byProgram : byPlace);
}

/** The one of them. @throws PlexiError TAKE_OVER_FAILED when there is none, or more than one tree of them */
export async function processOf(folder: string): Promise<FolderProcess> {
  const eldest = await processesOf(folder);
  const [first] = eldest;
  if (first === undefined)
    throw new PlexiError(
      'TAKE_OVER_FAILED',
      `no process of this user runs from ${folder}; start the service, or name the folder that it runs from`,
    );
  if (eldest.length === 1) return first;
  const list = eldest.slice(0, 10).map(({ pid, argv }) => `${pid} (${argv.join(' ').slice(0, 60)})`);
  throw new PlexiError(
    'TAKE_OVER_FAILED',
    `${eldest.length} processes run from ${folder}: ${list.join(', ')}; end all but the service, or start it from one program`,
    { details: { pids: eldest.map(({ pid }) => pid) } },
  );
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

function runsProgramOf({ pid, argv, cwd }: FolderProcess, folder: string): boolean {
  const executable = looked(() => withoutMark(readlinkSync(`/proc/${pid}/exe`)));
  if (executable !== undefined && isInside(folder, executable)) return true;
  // The interpreter and its script, or a program that was named by a link.
  return argv.slice(0, 2).some((word) => {
    const file = word.startsWith('-') ? undefined : looked(() => realpathSync(resolve(cwd, word)));
    return file !== undefined && file !== folder && isInside(folder, file) && statSync(file).isFile();
  });
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
