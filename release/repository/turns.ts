/**
 * Whoever puts a release together in a folder of releases has it alone for that time: two that make the same
 * release would remove each other's staging folder. Of several processes only one has a node (its local door),
 * so turns are kept in memory.
 */

/** What is being put together, by folder of releases; each waits for the one before it. */
const turns = new Map<string, Promise<unknown>>();

/** Does the work when all before it are done. Throws what the work throws, or the signal's reason. */
export async function inTurn<T>(
  releasesDir: string,
  signal: AbortSignal,
  work: () => Promise<T>,
): Promise<T> {
  const before = turns.get(releasesDir) ?? Promise.resolve();
  const mine = Promise.race([before, aborted(signal)]).then(() => {
    signal.throwIfAborted();
    return work();
  });
  const ended = Promise.allSettled([before, mine]);
  turns.set(releasesDir, ended);
  void ended.then(() => turns.get(releasesDir) === ended && turns.delete(releasesDir));
  return mine;
}

/** Does something that must meet nobody who puts a release together: not at all beside one, and one that comes waits. */
export async function whileNothingIsStaged(releasesDir: string, work: () => Promise<void>): Promise<void> {
  if (!turns.has(releasesDir)) await inTurn(releasesDir, new AbortController().signal, work);
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
