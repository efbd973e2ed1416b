/**
 * How the crash harnesses spend their time: which points a sample takes, in which order a long run takes
 * all of them, and what came of it.
 */
import assert from 'node:assert/strict';
import type { Tried } from './system-calls.test.part.js';

/** So many of a list, evenly, always the same. */
export function sampleOf<T>(all: readonly T[], count: number): T[] {
  const step = Math.max(1, all.length / count);
  return Array.from(
    { length: Math.min(count, all.length) },
    (_, index) => all[Math.floor((index + 0.5) * step)],
  ).filter((item) => item !== undefined);
}

/** All of a list in an order that is spread over it wherever a run ends, always the same. */
export function spread<T>(all: readonly T[]): T[] {
  // Steps of the golden ratio leave no large gap at any time.
  const keyed = all.map((item, index) => ({ item, key: (index * 0.618_033_988_75) % 1 }));
  return keyed.sort((one, other) => one.key - other.key).map(({ item }) => item);
}

export interface Summary {
  tried: number;
  passed: number;
  /** Points that the time did not suffice for. */
  left: number;
  failures: string[];
}

/**
 * Tries points, some at once, until all are done or the time is over. A try that gives undefined found that
 * its point does not exist, and does not count.
 */
export async function tryAll(
  tries: readonly (() => Promise<Tried | undefined>)[],
  { atOnce, untilMs = Number.POSITIVE_INFINITY }: { atOnce: number; untilMs?: number },
): Promise<Summary> {
  const summary: Summary = { tried: 0, passed: 0, left: tries.length, failures: [] };
  const next = tries.values();
  const work = async (): Promise<void> => {
    for (const one of next) {
      if (performance.now() >= untilMs) return;
      summary.left -= 1;
      const result = await resultOf(one);
      if (result === 'no point') continue;
      summary.tried += 1;
      if (result === 'passed') summary.passed += 1;
      else summary.failures.push(result.failure);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, work));
  return summary;
}

/** Fails with every failure of a summary, and when nothing was tried although there was time. */
export function assertAllPassed({ tried, left, failures }: Summary): void {
  assert.deepEqual(failures, []);
  assert.ok(tried > 0 || left > 0, 'nothing was tried');
}

async function resultOf(
  one: () => Promise<Tried | undefined>,
): Promise<'no point' | 'passed' | { failure: string }> {
  try {
    const tried = await one();
    if (tried === undefined) return 'no point';
    const { what, hit, wrong } = tried;
    if (hit === undefined)
      return { failure: [`${what}: invalid, the fault did not happen`, ...wrong].join('; ') };
    return wrong.length === 0 ? 'passed' : { failure: `${what}: ${wrong.join('; ')} (${hit})` };
  } catch (error) {
    return { failure: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  }
}
