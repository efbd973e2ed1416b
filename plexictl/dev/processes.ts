/**
 * Starts and stops the processes of a dev cluster, and keeps processes.json (contract, section 5).
 * Each process is a session of its own, so that Ctrl-C at the terminal reaches only `dev up`, which
 * then stops them in order. processes.json is replaced as a whole after each start.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import * as z from 'zod';
import { asPlexiError, PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import { type Layout, parseFile, readIfThere, replaceFile } from './layout.js';
import { identify, isAlive, type ProcessIdentity, signal } from './process-identity.js';

const entrySchema = z.object({
  pid: z.int().positive(),
  /** With the pid: which process this is, also after the id was given out again. */
  started: z.string(),
  log: z.string(),
  /** etcd: its URL; controllers and node agents: HOST:PORT of gRPC. */
  endpoint: z.string(),
  http: z.string().exactOptional(),
  service: z.string().exactOptional(),
});
const tableSchema = z.record(z.string(), entrySchema);

/** One line of processes.json. */
export type ProcessEntry = z.infer<typeof entrySchema>;
/** What processes.json holds, by name. */
export type ProcessTable = z.infer<typeof tableSchema>;

/** What to start. */
export interface ProcessSpec {
  readonly name: string;
  /** The program and its arguments. */
  readonly argv: readonly [string, ...string[]];
  readonly endpoint: string;
  readonly http?: string;
  readonly service?: string;
}

/** Reads processes.json; empty when there is none. */
export function readProcesses(layout: Layout): ProcessTable {
  const text = readIfThere(layout.processes);
  return text === undefined ? {} : parseFile(layout.processes, text, tableSchema);
}

/** Starts a process unless the one in processes.json still lives; returns whether it was started. */
export async function ensureRunning(layout: Layout, spec: ProcessSpec): Promise<boolean> {
  const table = readProcesses(layout);
  const known = table[spec.name];
  if (known !== undefined && isAlive(known)) return false;
  const log = layout.log(spec.name);
  const identity = await startDetached(spec, log);
  const { argv: _argv, name, ...addresses } = spec;
  const entry: ProcessEntry = { ...identity, log, ...addresses };
  replaceFile(layout.processes, `${JSON.stringify({ ...table, [name]: entry }, null, 2)}\n`);
  return true;
}

async function startDetached(spec: ProcessSpec, log: string): Promise<ProcessIdentity> {
  mkdirSync(dirname(log), { recursive: true });
  const output = openSync(log, 'a');
  const [program, ...words] = spec.argv;
  const child = spawn(program, words, {
    detached: true,
    stdio: ['ignore', output, output],
    env: environment(),
  });
  try {
    await once(child, 'spawn');
  } catch (thrown) {
    throw asPlexiError(thrown, 'INTERNAL', `${spec.name} cannot be started (${program})`);
  } finally {
    closeSync(output);
  }
  child.unref();
  const identity = child.pid === undefined ? undefined : identify(child.pid);
  if (identity === undefined)
    throw new PlexiError('INTERNAL', `${spec.name} ended right after its start; read ${log}`);
  return identity;
}

/** Only what programs need: a developer's ETCD_… or NODE_… variables must not change the cluster. */
function environment(): Record<string, string> {
  const kept = ['HOME', 'LANG', 'LC_ALL', 'TMPDIR', 'TZ', 'USER'];
  const pairs = kept.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]]));
  // Release folders say `node`: it shall be the one that runs everything else.
  const path = `${dirname(process.execPath)}:${process.env.PATH ?? '/usr/bin:/bin'}`;
  return { ...Object.fromEntries(pairs), PATH: path };
}

/** The last lines of a log, for an error that has to explain itself. */
export function logTail(log: string, lines = 12): string {
  const text = readIfThere(log)?.trimEnd() ?? '';
  return text === ''
    ? '  (empty)'
    : text
        .split('\n')
        .slice(-lines)
        .map((line) => `  ${line}`)
        .join('\n');
}

/** Whether a log tells that a port was taken by somebody else. */
export function tellsPortTaken(log: string): boolean {
  try {
    return /address already in use|EADDRINUSE/.test(readFileSync(log, 'utf8'));
  } catch {
    // No log, no such line.
    return false;
  }
}

/**
 * Ends all of them: SIGTERM, then SIGKILL for those that live after `graceMs`. Returns the ids of
 * those that needed SIGKILL. Errors: STOP_FAILED when one outlives even that.
 */
export async function stopAll(
  identities: readonly ProcessIdentity[],
  graceMs: number = limits.devStopMs,
): Promise<number[]> {
  for (const identity of identities) signal(identity, 'SIGTERM');
  const stubborn = await waitUntilGone(identities, graceMs);
  for (const identity of stubborn) signal(identity, 'SIGKILL');
  const left = await waitUntilGone(stubborn, limits.devStopMs);
  if (left.length > 0) {
    const pids = left.map(({ pid }) => pid).join(', ');
    throw new PlexiError(
      'STOP_FAILED',
      `process ${pids} does not end, not even by SIGKILL; look at what it waits for`,
    );
  }
  return stubborn.map(({ pid }) => pid);
}

async function waitUntilGone(
  identities: readonly ProcessIdentity[],
  timeoutMs: number,
): Promise<ProcessIdentity[]> {
  const giveUpAt = performance.now() + timeoutMs;
  let left = identities.filter(isAlive);
  while (left.length > 0 && performance.now() < giveUpAt) {
    await delay(20);
    left = left.filter(isAlive);
  }
  return left;
}
