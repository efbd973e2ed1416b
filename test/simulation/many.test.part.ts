/** Many histories, one after the other: how many, how they ended, which faults they met, how fast. */
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

export async function playMany({ from, count, maxMs, failuresMax, isPlain = false }: Bounds): Promise<Sum> {
  const sum: Sum = {
    ...{ histories: 0, rollouts: 0, simulatedMs: 0, tookMs: 0, failures: [] },
    ...{ ends: new Map<string, number>(), faults: new Map<string, number>() },
  };
  const startedAt = performance.now();
  for (let seed = from; seed < from + count; seed++) {
    if (performance.now() - startedAt > maxMs || sum.failures.length >= failuresMax) break;
    const played = await play(drawn(seed));
    sum.histories += 1;
    sum.simulatedMs += played.simulatedMs;
    sum.rollouts += played.ends.length;
    for (const end of played.ends) add(sum.ends, end, 1);
    for (const [fault, times] of played.faults) add(sum.faults, fault, times);
    sum.tookMs = performance.now() - startedAt;
    if (played.broken === undefined) continue;
    const { less, played: smaller } = isPlain ? { less: {}, played } : await shrink(seed, played);
    const { guarantee, sentence } = smaller.broken ?? played.broken;
    sum.failures.push(`seed ${seed}, guarantee ${guarantee}: ${sentence}\n  ${commandOf(seed, less)}`);
  }
  return sum;
}

/** The sum in lines for people. */
export function linesOf({ histories, rollouts, simulatedMs, tookMs, ends, faults, failures }: Sum): string[] {
  const total = [...faults.values()].reduce((before, times) => before + times, 0);
  const speed = Math.round(simulatedMs / Math.max(1, tookMs));
  return [
    `${rollouts} rollouts in ${histories} histories, ${total} faults, ${Math.round(simulatedMs / 1_000)} s of simulated time in ${(tookMs / 1_000).toFixed(1)} s: ${speed} times faster than real time`,
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
