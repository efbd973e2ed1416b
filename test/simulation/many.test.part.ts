/** Many histories, on as many threads as one likes: how many, how they ended, which faults they met, how fast. */
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { drawn } from './drawn.test.part.js';
import { commandOf, shrink } from './shrink.test.part.js';
import { play } from './simulation.test.part.js';

export interface Sum {
  histories: number;
  /** Those that were in force; one that was asked for and refused is none. */
  rollouts: number;
  simulatedMs: number;
  tookMs: number;
  readonly ends: Map<string, number>;
  readonly faults: Map<string, number>;
  /** A sentence with its command for each seed that failed. */
  readonly failures: string[];
}

/** Bounds of a run of many histories. */
export interface Bounds {
  readonly from: number;
  readonly count: number;
  /** Milliseconds after which no further history begins. */
  readonly maxMs: number;
  /** Failures after which no further history begins. */
  readonly failuresMax: number;
  /** Failures are told as they are, and not made smaller. */
  readonly isPlain?: boolean;
}

/** What a thread is given: the same for each. */
export interface Share extends Bounds {
  /** Milliseconds since 1970. */
  readonly untilMs: number;
  /** Over shared memory: histories that were begun, and failures that were met. */
  readonly done: Int32Array;
}

/** Megabytes for young objects: a history leaves next to nothing behind, so a large room is swept seldom. */
const youngMb = 64;

/** @param jobs threads; with one it is this thread */
export async function playMany(bounds: Bounds, jobs = 1): Promise<Sum> {
  const startedAt = performance.now();
  const done = new Int32Array(new SharedArrayBuffer(2 * Int32Array.BYTES_PER_ELEMENT));
  const share: Share = { ...bounds, untilMs: Date.now() + bounds.maxMs, done };
  const parts =
    jobs === 1
      ? [await playShare(share)]
      : await Promise.all(Array.from({ length: jobs }, () => onThread(share)));
  const sum = parts.reduce(added, emptySum());
  return { ...sum, tookMs: performance.now() - startedAt };
}

/** Plays one history after the other that no other thread has begun. */
export async function playShare(share: Share): Promise<Sum> {
  const { from, count, untilMs, failuresMax, done, isPlain = false } = share;
  const sum = emptySum();
  while (Date.now() < untilMs && Atomics.load(done, 1) < failuresMax) {
    const index = Atomics.add(done, 0, 1);
    if (index >= count) break;
    const seed = from + index;
    const played = await play(drawn(seed));
    sum.histories += 1;
    sum.rollouts += played.ends.length;
    sum.simulatedMs += played.simulatedMs;
    for (const end of played.ends) add(sum.ends, end, 1);
    for (const [fault, times] of played.faults) add(sum.faults, fault, times);
    if (played.broken === undefined) continue;
    Atomics.add(done, 1, 1);
    const { less, played: smaller } = isPlain ? { less: {}, played } : await shrink(seed, played);
    const { guarantee, sentence } = smaller.broken ?? played.broken;
    sum.failures.push(`seed ${seed}, guarantee ${guarantee}: ${sentence}\n  ${commandOf(seed, less)}`);
  }
  return sum;
}

/** Needs the build: a thread runs what stands in dist/. */
function onThread(share: Share): Promise<Sum> {
  const program = join(process.cwd(), 'dist', 'test', 'simulation', 'thread.test.part.js');
  const resourceLimits = { maxYoungGenerationSizeMb: youngMb };
  const worker = new Worker(program, { workerData: share, execArgv: [], resourceLimits });
  return new Promise((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
    worker.once('exit', () => reject(new Error('a thread ended without a word')));
  });
}

function emptySum(): Sum {
  return {
    ...{ histories: 0, rollouts: 0, simulatedMs: 0, tookMs: 0, failures: [] },
    ...{ ends: new Map<string, number>(), faults: new Map<string, number>() },
  };
}

/** Two sums as one; the counts of the first are added to. */
export function added(sum: Sum, part: Sum): Sum {
  for (const [end, times] of part.ends) add(sum.ends, end, times);
  for (const [fault, times] of part.faults) add(sum.faults, fault, times);
  return {
    ...sum,
    histories: sum.histories + part.histories,
    rollouts: sum.rollouts + part.rollouts,
    simulatedMs: sum.simulatedMs + part.simulatedMs,
    tookMs: sum.tookMs + part.tookMs,
    failures: [...sum.failures, ...part.failures],
  };
}

/** The sum in lines for people. */
export function linesOf({ histories, rollouts, simulatedMs, tookMs, ends, faults, failures }: Sum): string[] {
  const total = [...faults.values()].reduce((before, times) => before + times, 0);
  const perSecond = (rollouts / Math.max(0.001, tookMs / 1_000)).toFixed(1);
  return [
    `${rollouts} rollouts in ${histories} histories, ${total} faults, ${Math.round(simulatedMs / 1_000)} s of simulated time in ${(tookMs / 1_000).toFixed(1)} s: ${perSecond} rollouts a second`,
    `ends: ${inOrder(ends)}`,
    `faults: ${inOrder(faults)}`,
    ...failures,
  ];
}

function inOrder(counts: ReadonlyMap<string, number>): string {
  return [...counts]
    .sort()
    .map(([name, times]) => `${times} ${name}`)
    .join(', ');
}

function add(counts: Map<string, number>, name: string, times: number): void {
  counts.set(name, (counts.get(name) ?? 0) + times);
}
