/**
 * Time as a queue of what is due. The real code under simulation is asynchronous, but waits for nothing
 * else: between two entries of the queue every promise that can go on has gone on. So one order of the
 * queue is one history. What a process has asked for dies with it, and waits while it is paused.
 */

/** A controller or an agent, as the host sees it: it runs, stands still, or is gone. */
export class Process {
  alive = true;
  pausedUntilMs = 0;

  constructor(readonly name: string) {}
}

/** Something in the queue. */
export interface Due {
  atMs: number;
  readonly order: number;
  /** Null: it happens whatever becomes of the processes, as a disk or etcd does. */
  readonly process: Process | null;
  readonly run: () => void;
  /** Nobody waits for it most of the time: promises need not be given their turn after it. */
  readonly isLight: boolean;
  isCancelled: boolean;
  /** Its process stood still when it was due. */
  isPutOff: boolean;
}

export class Clock {
  nowMs = 0;
  /** Whose entry runs now; what it asks for belongs to the same. */
  running: Process | null = null;
  /** Something that must be heard at once happened in a light entry. */
  isUrgent = false;
  taken = 0;
  private readonly queue: Due[] = [];
  private order = 0;

  /** Puts something into the queue. */
  after(delayMs: number, run: () => void, process = this.running, isLight = false): Due {
    const atMs = this.nowMs + Math.max(0, delayMs);
    const due: Due = {
      atMs,
      order: this.order++,
      process,
      run,
      isLight,
      isCancelled: false,
      isPutOff: false,
    };
    this.push(due);
    return due;
  }

  /** Resolves later; rejects when the signal is aborted before. */
  sleep(delayMs: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const stop = (): void => {
        due.isCancelled = true;
        reject(new DOMException('The operation was aborted', 'AbortError'));
      };
      const due = this.after(delayMs, () => {
        signal?.removeEventListener('abort', stop);
        resolve();
      });
      if (signal?.aborted) stop();
      else signal?.addEventListener('abort', stop, { once: true });
    });
  }

  /** Takes what is due next, and lets every promise go on. @returns false when nothing is left */
  step(): boolean {
    const due = this.pop();
    if (due === undefined) return false;
    this.nowMs = Math.max(this.nowMs, due.atMs);
    if (due.isCancelled || due.process?.alive === false) return true;
    if (due.process !== null && due.process.pausedUntilMs > this.nowMs) {
      due.atMs = due.process.pausedUntilMs;
      due.isPutOff = true;
      this.push(due);
      return true;
    }
    this.taken += 1;
    this.running = due.process;
    this.isUrgent = false;
    due.run();
    if (!due.isLight || this.isUrgent) settle();
    this.running = null;
    return true;
  }

  /** A process that stands still goes on now: what has waited for it is due at once. */
  wake(process: Process): void {
    if (process.pausedUntilMs <= this.nowMs) return;
    process.pausedUntilMs = this.nowMs;
    for (const due of this.queue.splice(0)) {
      if (due.process === process && due.isPutOff) due.atMs = this.nowMs;
      this.push(due);
    }
  }

  private push(due: Due): void {
    const { queue } = this;
    let at = queue.length;
    queue.push(due);
    while (at > 0) {
      const above = (at - 1) >> 1;
      const parent = queue[above];
      if (parent === undefined || isBefore(parent, due)) break;
      queue[at] = parent;
      at = above;
    }
    queue[at] = due;
  }

  private pop(): Due | undefined {
    const { queue } = this;
    const first = queue[0];
    const last = queue.pop();
    if (first === undefined || last === undefined || queue.length === 0) return first;
    let at = 0;
    for (;;) {
      let below = 2 * at + 1;
      const right = queue[below + 1];
      let child = queue[below];
      if (child === undefined) break;
      if (right !== undefined && isBefore(right, child)) {
        child = right;
        below += 1;
      }
      if (isBefore(last, child)) break;
      queue[at] = child;
      at = below;
    }
    queue[at] = last;
    return first;
  }
}

function isBefore(a: Due, b: Due): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}

/**
 * Lets every promise go on that can, as Node.js does between two callbacks of its event loop; asked for by
 * hand, because a turn of the loop for each entry would cost more than the entry. Only outside of promises.
 */
const settle: () => void = Reflect.get(process, '_tickCallback');

const realImmediate = setImmediate;

/** Runs work that calls `step`: in a callback of its own, outside of every promise. */
export function outsideOfPromises<T>(work: () => T): Promise<T> {
  return new Promise((resolve, reject) => {
    realImmediate(() => {
      try {
        resolve(work());
      } catch (thrown) {
        reject(thrown instanceof Error ? thrown : new Error(String(thrown)));
      }
    });
  });
}
