/**
 * Runs one program of a release or an operator to its end: a hook, a migration, a test. Words only,
 * never a shell; the environment is exactly the given one; no input. The program has a process group
 * of its own, and when its time is over or it is cancelled the whole group ends, first politely; where
 * that is asked for also when the program has ended by itself, and left something of the group behind.
 * Whatever happens is a result with a sentence; nothing is thrown.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { Writable } from 'node:stream';
import { limits } from '../../config/limits.js';
import { Redaction } from '../secrets/redaction.js';
import { monotonicClock } from './clock.js';
import { endGroup } from './process-group.js';
import { groupLives } from './process-table.js';
import { whyNotStarted } from './start-failure.js';

/** What to run. */
export interface CommandRun {
  readonly argv: readonly string[];
  /** The folder it starts in, absolute. */
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
  /** Cancels it, in the same way as the end of its time. */
  readonly signal?: AbortSignal | undefined;
  /** Values that are replaced by `***` in all that is kept of its output. */
  readonly hidden?: readonly Uint8Array[];
  /** What it can read, once, from the descriptors 3, 4 and so on, each by its number. */
  readonly given?: readonly Uint8Array[];
  /** What it has left in its group is ended behind it: what comes next must not meet it. */
  readonly endsWhole?: boolean;
  /** Called in the turn of its start, so that nothing of it is collected before. */
  readonly onStart?: (pid: number) => void;
}

/** How it went. It succeeded when `exitCode` is 0. */
export interface CommandResult {
  /** Null when it was never started, or was ended by a signal. */
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  /** The last part of what it printed, both streams in the order of arrival (limits.hookOutputBytes). */
  readonly output: string;
  readonly durationMs: number;
  readonly timedOut: boolean;
  readonly cancelled: boolean;
  /** True when not even SIGKILL ended it, or what it had left behind, within some seconds: it may still act. */
  readonly leftRunning: boolean;
  /** What happened, for people: "migrate.mjs ended with exit code 3 after 12 ms". */
  readonly sentence: string;
}

/** The first descriptor that a program inherits beside its three streams. */
export const FIRST_GIVEN = 3;
/** Milliseconds after the program's end in which its last output may arrive. */
const LAST_OUTPUT_MS = 200;

/** Runs a program and waits for its end. Never rejects. */
export async function runCommand(run: CommandRun): Promise<CommandResult> {
  const begunAt = monotonicClock.now();
  const [program, ...words] = run.argv;
  const state: RunState = { run, begunAt, output: '', timedOut: false, cancelled: false };
  if (program === undefined) return neverRan(state, 'no program is named');
  if (run.signal?.aborted === true) {
    return neverRan({ ...state, cancelled: true }, 'it was cancelled before its start');
  }
  const given = run.given ?? [];
  let child: ChildProcess;
  try {
    child = spawn(program, words, {
      cwd: run.cwd,
      env: { ...run.env },
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe', ...given.map(() => 'pipe' as const)],
    });
  } catch (error) {
    // Words with a NUL, or too many of them, are refused before there is a process.
    return neverRan(state, whyNotStarted(run.cwd, error));
  }
  if (child.pid !== undefined) run.onStart?.(child.pid);
  give(child, given);
  const tail = keepTail(child, limits.hookOutputBytes, run.hidden ?? []);
  const failure = await finish(child, state);
  state.output = tail();
  if (failure instanceof Error) return neverRan(state, whyNotStarted(run.cwd, failure));
  return ended(state, child, failure === 'left running');
}

/** Why a program failed, with the last line that it printed. */
export function whyItFailed(result: CommandResult): string {
  const line = result.output.trim().split('\n').at(-1) ?? '';
  return line === '' ? result.sentence : `${result.sentence} (${line})`;
}

interface RunState {
  readonly run: CommandRun;
  readonly begunAt: number;
  output: string;
  timedOut: boolean;
  cancelled: boolean;
}

/** Waits for the end, and brings it about when the time is over. An Error when it could not start. */
async function finish(child: ChildProcess, state: RunState): Promise<Error | 'left running' | undefined> {
  const { signal, timeoutMs } = state.run;
  const over = new AbortController();
  let failure: Error | undefined;
  child.once('error', (error) => {
    failure = error;
    over.abort();
  });
  child.once('exit', () => over.abort());
  const closed = new Promise<void>((resolve) => child.once('close', () => resolve()));
  const wake = signal === undefined ? over.signal : AbortSignal.any([over.signal, signal]);
  await monotonicClock.sleep(timeoutMs, wake);
  if (failure !== undefined) return failure;
  if (!over.signal.aborted) {
    state.cancelled = signal?.aborted === true;
    state.timedOut = !state.cancelled;
  }
  if (!over.signal.aborted || leavesSome(child, state.run)) {
    if (!(await endGroupOf(child))) {
      child.unref();
      closePipes(child);
      return 'left running';
    }
  }
  // Something it left behind may hold its output open for ever: then what has come is all.
  await Promise.race([closed, monotonicClock.sleep(LAST_OUTPUT_MS)]);
  closePipes(child);
  return undefined;
}

/** A program that has ended may have left others, which write on. */
function leavesSome({ pid }: ChildProcess, { endsWhole }: CommandRun): boolean {
  return endsWhole === true && pid !== undefined && groupLives(pid);
}

/** Ends what is left of the program's group. False when that did not help. */
function endGroupOf(child: ChildProcess): Promise<boolean> {
  if (child.pid === undefined) return Promise.resolve(true);
  return endGroup(child.pid, () => child.exitCode !== null || child.signalCode !== null);
}

/** Collects both streams without what is hidden, and keeps no more than the last `maxBytes` of them. */
function keepTail(child: ChildProcess, maxBytes: number, hidden: readonly Uint8Array[]): () => string {
  let pieces: Buffer[] = [];
  let length = 0;
  const keep = (piece: Buffer) => {
    pieces.push(piece);
    length += piece.length;
    if (length <= 4 * maxBytes) return;
    pieces = [Buffer.concat(pieces).subarray(-maxBytes)];
    length = maxBytes;
  };
  const streams = [child.stdout, child.stderr].map((stream) => {
    const redaction = new Redaction(hidden);
    stream?.on('data', (piece: Buffer) => keep(redaction.take(piece)));
    return redaction;
  });
  return () => {
    for (const redaction of streams) keep(redaction.end());
    return Buffer.concat(pieces).subarray(-maxBytes).toString('utf8');
  };
}

/** Puts each value on its descriptor. What a program does not read is no error. */
function give(child: ChildProcess, given: readonly Uint8Array[]): void {
  for (const [index, value] of given.entries()) {
    const pipe = child.stdio[FIRST_GIVEN + index];
    if (!(pipe instanceof Writable)) continue;
    pipe.on('error', () => pipe.destroy());
    pipe.end(value);
  }
}

function closePipes(child: ChildProcess): void {
  for (const pipe of child.stdio) pipe?.destroy();
}

function neverRan(state: RunState, why: string): CommandResult {
  const program = state.run.argv[0] ?? 'the command';
  return {
    ...facts(state),
    exitCode: null,
    signal: null,
    leftRunning: false,
    sentence: `${program} was not run: ${why}`,
  };
}

function ended(state: RunState, child: ChildProcess, leftRunning: boolean): CommandResult {
  const result = { ...facts(state), exitCode: child.exitCode, signal: child.signalCode, leftRunning };
  return { ...result, sentence: sentenceOf(state, result) };
}

function facts(state: RunState) {
  const { output, timedOut, cancelled } = state;
  return { output, timedOut, cancelled, durationMs: monotonicClock.now() - state.begunAt };
}

function sentenceOf(state: RunState, result: Omit<CommandResult, 'sentence'>): string {
  const program = state.run.argv[0] ?? 'the command';
  const after = `after ${Math.round(result.durationMs)} ms`;
  if (result.leftRunning) {
    const what = result.exitCode === null && result.signal === null ? program : `what ${program} has started`;
    return `${what} did not end, not even by SIGKILL, ${after}; it may still act`;
  }
  if (result.timedOut) return `${program} did not end within ${state.run.timeoutMs} ms and was stopped`;
  if (result.cancelled) return `${program} was cancelled ${after}`;
  if (result.exitCode === null) return `${program} was ended by ${result.signal} ${after}`;
  return `${program} ended with exit code ${result.exitCode} ${after}`;
}
