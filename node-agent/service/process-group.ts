/**
 * Ends a whole process group, first politely. Invariant: true means that none of it can write any more; what did
 * not end even by SIGKILL is told, because it may still act.
 */
import { limits } from '../../config/limits.js';
import { monotonicClock } from './clock.js';
import { groupExists, groupLives, signalTo } from './process-table.js';

/** Milliseconds that the system gets to end a group after SIGKILL. */
const killWaitMs = 5_000;
/** Milliseconds between two looks at a group that shall end. */
const pollMs = 10;

/**
 * SIGTERM to the group, SIGKILL to what is left of it later. False when that did not help.
 * @param hasExited whether its leader has, as its parent knows it
 */
export async function endGroup(group: number, hasExited: () => boolean = () => true): Promise<boolean> {
  signalTo(-group, 'SIGTERM');
  if (await becomesTrue(() => !groupExists(group), limits.commandKillGraceMs)) return true;
  signalTo(-group, 'SIGKILL');
  // The signal is delivered, but a process lives until the system has ended it; none may write any more.
  return becomesTrue(() => hasExited() && !groupLives(group), killWaitMs);
}

async function becomesTrue(condition: () => boolean, withinMs: number): Promise<boolean> {
  const deadline = monotonicClock.now() + withinMs;
  while (!condition()) {
    if (monotonicClock.now() >= deadline) return false;
    await monotonicClock.sleep(pollMs);
  }
  return true;
}
