/**
 * Ends a service that is a process: asks what is known of it to end, waits for that, and then proves by
 * one search of all processes that nothing of it is left. Invariant: an empty answer means that such a
 * search came after the last death, and found nothing.
 */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import type { MonotonicClock } from './clock.js';
import { isAlive, type LiveProcess, signalGroups } from './process-table.js';
import type { ServiceProcesses } from './service-processes.js';
import { type ServiceRecord, stopSignalOf } from './service-record.js';

/** Milliseconds that the system gets to collect what was sent SIGKILL. */
const killWaitMs = 5_000;

/** Milliseconds between two looks at processes that shall end: at first, and at the most. */
const pollFirstMs = 2;
const pollMaxMs = 10;

/** Milliseconds that a parent waits to hear of the end of a child that is dead. */
const endToldWaitMs = 1_000;

/** What shall end. */
export interface EndingService {
  readonly processes: ServiceProcesses;
  readonly record: ServiceRecord | undefined;
  /** The main process, when this very agent started it: then its end is told, not looked for. */
  readonly child: ChildProcess | undefined;
  readonly clock: MonotonicClock;
}

/**
 * Ends all processes of a service: its own signal first, SIGKILL after `timeoutMs`.
 * @returns what still lives some seconds after SIGKILL; nothing else is ever left.
 */
export async function endService(service: EndingService, timeoutMs: number): Promise<LiveProcess[]> {
  const { processes, record, clock } = service;
  const deadline = clock.now() + timeoutMs;
  await end(service, await processes.tree(record), stopSignalOf(record), deadline);
  // What has lost its parent is found by this search alone, and what it finds may have started more.
  let left = await processes.all(record);
  while (left.length > 0 && clock.now() < deadline) {
    await end(service, left, stopSignalOf(record), deadline);
    left = await processes.all(record);
  }
  const killDeadline = clock.now() + killWaitMs;
  while (left.length > 0 && clock.now() < killDeadline) {
    await end(service, left, 'SIGKILL', killDeadline);
    left = await processes.all(record);
  }
  return left;
}

/** Whether a child of this agent has ended. */
export function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

/**
 * Waits until the system has told how a dead child ended: it stands in the table as dead before its parent
 * hears of it. One that does not die within a second is left to its caller.
 */
export async function endIsTold(child: ChildProcess): Promise<void> {
  if (hasEnded(child)) return;
  const over = new AbortController();
  const timer = setTimeout(() => over.abort(), endToldWaitMs);
  try {
    await once(child, 'exit', { signal: over.signal });
  } catch (error) {
    if (!over.signal.aborted) throw error;
  } finally {
    clearTimeout(timer);
  }
}

/** Signals all, and waits until they are dead or the deadline has come. */
async function end(
  service: EndingService,
  wanted: readonly LiveProcess[],
  signal: NodeJS.Signals,
  deadline: number,
): Promise<void> {
  let left = wanted.filter(isAlive);
  signalGroups(left, signal);
  let pauseMs = pollFirstMs;
  while (left.length > 0) {
    const remainingMs = deadline - service.clock.now();
    if (remainingMs <= 0) return;
    await pause(service, Math.min(pauseMs, remainingMs));
    pauseMs = Math.min(pauseMs * 1.5, pollMaxMs);
    left = left.filter(isAlive);
  }
}

/** Waits a moment; the end of our own child ends the wait, which saves the rest of it. */
async function pause({ child, clock }: EndingService, ms: number): Promise<void> {
  if (child === undefined || hasEnded(child)) return clock.sleep(ms);
  const over = new AbortController();
  const onExit = () => over.abort();
  child.once('exit', onExit);
  await clock.sleep(ms, over.signal);
  child.off('exit', onExit);
}
