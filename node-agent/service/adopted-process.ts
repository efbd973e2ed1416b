/**
 * A service that somebody started by hand, and that the agent took over as it ran. It carries no token
 * of the agent and may share the process group of the script that started it. Invariant: only the
 * process itself, what it started, and the group that it leads are ever signalled; never a group that
 * it merely is in, because that is somebody else's.
 */
import { PlexiError } from '../../config/errors.js';
import { bootedAtMs } from '../disk/boot-file.js';
import type { MonotonicClock } from './clock.js';
import { isAlive, type LiveProcess, liveProcess, signalTo } from './process-table.js';
import { withDescendants } from './process-tree.js';
import { type ServiceRecord, stopSignalOf } from './service-record.js';

/** Milliseconds that the system gets to collect processes after SIGKILL. */
const KILL_WAIT_MS = 5_000;
/** Milliseconds between two looks at processes that shall end: at first, and at the most. */
const LOOK_FIRST_MS = 5;
const LOOK_MAX_MS = 50;
/** Clock ticks in a second, as /proc counts them on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100;

/** What shall be taken over. */
export interface Adoption {
  readonly pid: number;
  /** What was started, for people. */
  readonly argv: readonly string[];
  /** The signal that asks it to end. */
  readonly stopSignal: string;
  /** Who takes it over, so that only the same one can give it up again. */
  readonly by: string;
}

/** The process of a record and all that it has started, as far as they live; none after another boot. */
export async function adoptedFamily(record: ServiceRecord): Promise<LiveProcess[]> {
  const main = record.process === undefined ? undefined : liveProcess(record.process.pid);
  if (main === undefined || main.startTicks !== record.process?.startTicks) return [];
  return withDescendants([main]);
}

/**
 * Ends a process that was taken over, with all that it started; SIGKILL after `timeoutMs`.
 * Errors: STOP_FAILED when something is still there after SIGKILL.
 */
export async function endAdopted(
  record: ServiceRecord,
  timeoutMs: number,
  clock: MonotonicClock,
): Promise<void> {
  const deadline = clock.now() + timeoutMs;
  const left = await endFamily(await adoptedFamily(record), stopSignalOf(record), deadline, clock);
  const unkillable = await endFamily(left, 'SIGKILL', clock.now() + KILL_WAIT_MS, clock);
  if (unkillable.length === 0) return;
  const pids = unkillable.map(({ pid }) => pid);
  throw new PlexiError(
    'STOP_FAILED',
    `the service that was taken over did not end, not even by SIGKILL (process ${pids.join(', ')}); look at what it waits for, end it, and try again`,
    { details: { pids } },
  );
}

/** When a process was started, RFC 3339, by the system's own account. */
export function startedAt({ startTicks }: Pick<LiveProcess, 'startTicks'>): string {
  return new Date(bootedAtMs() + (startTicks / TICKS_PER_SECOND) * 1_000).toISOString();
}

/** Signals each one once, and whatever they start meanwhile; returns what lives at the deadline. */
async function endFamily(
  family: readonly LiveProcess[],
  signal: NodeJS.Signals,
  deadline: number,
  clock: MonotonicClock,
): Promise<LiveProcess[]> {
  const signalled = new Set<number>();
  let left = family.filter(isAlive);
  for (let pauseMs = LOOK_FIRST_MS; left.length > 0; pauseMs = Math.min(pauseMs * 1.5, LOOK_MAX_MS)) {
    for (const { pid } of left.filter((it) => !signalled.has(it.pid))) {
      signalled.add(pid);
      signalTo(pid, signal);
    }
    const remainingMs = deadline - clock.now();
    if (remainingMs <= 0) return left.filter(isAlive);
    await clock.sleep(Math.min(pauseMs, remainingMs));
    left = await withDescendants(left);
  }
  return left;
}
