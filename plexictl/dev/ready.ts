/**
 * Waiting for the processes of a dev cluster: bounded, and ended at once when one of them dies. What is
 * waited for is asked of the real thing (etcd's health, the controllers' API), never assumed from time
 * that has passed.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import type { Layout } from './layout.js';
import { isAlive } from './process-identity.js';
import { logTail, readProcesses, tellsPortTaken } from './processes.js';

/** What is not ready yet: the process's name, and what it lacks. */
export interface Missing {
  readonly name: string;
  readonly what: string;
}

/** What a wait needs. */
export interface Waiting {
  readonly layout: Layout;
  /** Ends the wait: Ctrl-C. */
  readonly interrupt: AbortSignal;
  readonly say: (text: string) => void;
}

/**
 * Looks until nothing is missing. Errors: TIMED_OUT naming the first that is not ready, INTERNAL when
 * one of `names` has ended, CONFLICT when it could not have its port; the end of its log is said.
 */
export async function waitUntilReady(
  { layout, interrupt, say }: Waiting,
  names: readonly string[],
  look: () => Promise<Missing[]>,
): Promise<void> {
  const giveUpAt = performance.now() + limits.devReadyMs;
  for (;;) {
    interrupt.throwIfAborted();
    const dead = names.find((name) => !lives(layout, name));
    if (dead !== undefined) throw notReady(layout, say, dead, 'ended right after its start');
    const [first] = await look();
    if (first === undefined) return;
    if (performance.now() > giveUpAt) {
      throw notReady(layout, say, first.name, `${first.what} after ${limits.devReadyMs / 1_000} s`);
    }
    await delay(50);
  }
}

/** Looks; while the cluster cannot answer (no leader yet, its store just started), that is what is missing. */
export async function unlessUnavailable(name: string, look: () => Promise<Missing[]>): Promise<Missing[]> {
  try {
    return await look();
  } catch (thrown) {
    const passing = ['NO_CONTROLLER', 'NO_LEADER', 'NOT_LEADER', 'STORE_UNAVAILABLE', 'TIMED_OUT'];
    if (thrown instanceof PlexiError && passing.includes(thrown.code))
      return [{ name, what: thrown.message }];
    throw thrown;
  }
}

function lives(layout: Layout, name: string): boolean {
  const entry = readProcesses(layout)[name];
  return entry !== undefined && isAlive(entry);
}

function notReady(layout: Layout, say: Waiting['say'], name: string, what: string): PlexiError {
  const log = layout.log(name);
  if (tellsPortTaken(log)) return portTaken(name, log);
  say(`the end of ${log}:\n${logTail(log)}`);
  return new PlexiError(what.startsWith('ended') ? 'INTERNAL' : 'TIMED_OUT', `${name} ${what}; read ${log}`);
}

/** The error for a port that somebody else took between our choice and the start. */
export function portTaken(name: string, log: string): PlexiError {
  return new PlexiError(
    'CONFLICT',
    `${name} could not listen: its port is taken by another program; read ${log}`,
    {
      details: { portTaken: true },
    },
  );
}

/** Whether a start failed because of a port, so that other ports would help. */
export function isPortTaken(thrown: unknown): boolean {
  return thrown instanceof PlexiError && thrown.details.portTaken === true;
}
