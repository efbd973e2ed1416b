/**
 * What hooks, migrations and tests have printed on this node: one file each in `agent/hooks`, the
 * newest entry last. A file that grows too long keeps its newer half. Output is no state: nothing
 * here is flushed, and a log that cannot be written stops nothing.
 */
import { appendFile, readdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import { ensureFolder, isSystemError, temporaryBeside } from '../disk/durable-file.js';

const ending = '.log';
const plainName = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;

/** One run of one program. */
export interface HookLogEntry {
  readonly at: Date;
  readonly commandId: string;
  /** What was run, for people: `migration 001-format (up)`. */
  readonly what: string;
  /** How it ended, for people. */
  readonly sentence: string;
  readonly output: string;
}

/** Appends what one run has printed. Errors: the system's; LIMIT_EXCEEDED when the name is no plain one. */
export async function appendHookLog(folder: string, name: string, entry: HookLogEntry): Promise<void> {
  const path = hookLogPath(folder, name);
  await ensureFolder(folder, 0o700);
  const { at, commandId, what, sentence, output } = entry;
  const end = output === '' || output.endsWith('\n') ? '' : '\n';
  const text = `# ${at.toISOString()} ${commandId} ${what}: ${sentence}\n${output}${end}`;
  await appendFile(path, text, { mode: 0o600 });
  if ((await stat(path)).size > limits.hookLogBytes) await keepNewerHalf(path);
}

/** The file of a hook's, a migration's or a test's log. */
export function hookLogPath(folder: string, name: string): string {
  if (plainName.test(name)) return join(folder, `${name}${ending}`);
  throw new PlexiError(
    'LIMIT_EXCEEDED',
    `${JSON.stringify(name.slice(0, 80))} is no name of a hook, a migration or a test`,
  );
}

/** The names of all logs that there are, sorted. */
export async function hookLogNames(folder: string): Promise<string[]> {
  try {
    const files = await readdir(folder);
    return files
      .filter((file) => file.endsWith(ending) && plainName.test(file))
      .map((file) => file.slice(0, -ending.length))
      .sort();
  } catch (thrown) {
    if (isSystemError(thrown, 'ENOENT')) return [];
    throw thrown;
  }
}

/** A reader that has the old file open goes on reading it; a new one meets whole lines. */
async function keepNewerHalf(path: string): Promise<void> {
  const bytes = await readFile(path);
  const half = bytes.subarray(-Math.floor(limits.hookLogBytes / 2));
  const newer = half.subarray(half.indexOf('\n') + 1);
  const temporary = temporaryBeside(path);
  await writeFile(temporary, newer, { mode: 0o600 });
  await rename(temporary, path);
}
