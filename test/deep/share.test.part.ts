/**
 * The time of one deep harness, and what it tells at its end. `node test/run.mjs --deep --minutes N` gives
 * each file its share of what is left in PLEXI_DEEP_MINUTES, and sums up the lines of PLEXI_DEEP_REPORT.
 */
import { appendFileSync } from 'node:fs';
import { env } from 'node:process';

/** Minutes without a runner that says how many. */
const minutesByHand = 10;

/** When the harness stops to begin anything, on the clock of `performance.now()`. */
export function deepUntilMs(): number {
  return Number(env.PLEXI_DEEP_MINUTES ?? minutesByHand) * 60_000;
}

/** Tells what was tried. `left`: points that the time did not suffice for. */
export function reportDeep(
  harness: string,
  { tried, passed, left }: { tried: number; passed: number; left: number },
): void {
  process.stdout.write(`# ${harness}: ${tried} points tried, ${passed} points passed, ${left} left\n`);
  const file = env.PLEXI_DEEP_REPORT;
  if (file !== undefined) appendFileSync(file, `${JSON.stringify({ harness, tried, passed, left })}\n`);
}
