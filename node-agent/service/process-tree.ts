/**
 * Who started whom: processes with their descendants, as the system's table shows them now. A process
 * whose parent has died belongs to the init process from then on and is no descendant any more, so
 * whoever ends a tree looks again while its members die.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { allPids, type LiveProcess, liveProcess } from './process-table.js';

/** Processes that are looked at before other work of the agent gets its turn. */
const PROCESSES_PER_TURN = 256;

/** Every live process that can be seen, but this program itself. */
export async function liveProcesses(): Promise<LiveProcess[]> {
  const found: LiveProcess[] = [];
  for (const [index, pid] of allPids().entries()) {
    if (index % PROCESSES_PER_TURN === PROCESSES_PER_TURN - 1) await nextTurn();
    const candidate = pid === process.pid ? undefined : liveProcess(pid);
    if (candidate !== undefined) found.push(candidate);
  }
  return found;
}

/** These processes as far as they live, and all that they have started and that lives. */
export async function withDescendants(roots: Iterable<LiveProcess>): Promise<LiveProcess[]> {
  const all = await liveProcesses();
  const byPid = new Map(all.map((it) => [it.pid, it]));
  const family = new Map<number, LiveProcess>();
  for (const { pid, startTicks } of roots) {
    const now = byPid.get(pid);
    if (now?.startTicks === startTicks) family.set(pid, now);
  }
  // Each round adds one generation, so it ends when there is no further one.
  for (let before = -1; before !== family.size; ) {
    before = family.size;
    for (const it of all) if (family.has(it.parent)) family.set(it.pid, it);
  }
  return [...family.values()];
}

/** Those of the processes that no other one of them has started, directly or through others. */
export async function eldestOf<T extends LiveProcess>(processes: readonly T[]): Promise<T[]> {
  const parents = new Map((await liveProcesses()).map(({ pid, parent }) => [pid, parent]));
  const members = new Set(processes.map(({ pid }) => pid));
  return processes.filter(({ parent }) => {
    const seen = new Set<number>();
    for (let above: number | undefined = parent; above !== undefined && !seen.has(above); ) {
      if (members.has(above)) return false;
      seen.add(above);
      above = parents.get(above);
    }
    return true;
  });
}
