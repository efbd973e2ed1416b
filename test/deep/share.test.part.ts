/**
 * The time of one deep harness, and what it tells at its end. `node test/run.mjs --deep --minutes N` gives
 * each file its share of what is left in PLEXI_DEEP_MINUTES, and sums up the lines of PLEXI_DEEP_REPORT. One
 * whose share is used up begins nothing more, says what is left, and passes if nothing was wrong.
 */
import { appendFileSync } from 'node:fs';
import { env } from 'node:process';
import { after, afterEach } from 'node:test';

/** Minutes without a runner that says how many. */
const minutesByHand = 10;

/** When the harness stops to begin anything, on the clock of `performance.now()`. */
export function deepUntilMs(): number {
  return Number(env.PLEXI_DEEP_MINUTES ?? minutesByHand) * 60_000;
}

/** Minutes of the whole run, for what goes on beside the other harnesses. */
export function deepRunMinutes(): number {
  return Number(env.PLEXI_DEEP_RUN_MINUTES ?? env.PLEXI_DEEP_MINUTES ?? minutesByHand);
}

interface DeepReport {
  readonly tried: number;
  readonly passed: number;
  /** Points that the time did not suffice for. */
  readonly left: number;
  /** What is told beside the points, in words. */
  readonly more?: string;
}

/** Tells what was tried. */
export function reportDeep(harness: string, { tried, passed, left, more }: DeepReport): void {
  const words = more === undefined ? '' : `; ${more}`;
  process.stdout.write(
    `# ${harness}: ${tried} points tried, ${passed} points passed, ${left} left${words}\n`,
  );
  const file = env.PLEXI_DEEP_REPORT;
  if (file !== undefined) appendFileSync(file, `${JSON.stringify({ harness, tried, passed, left, more })}\n`);
}

/** Every test of this file that is made after this call is a point. What is skipped is told by the caller. */
export function reportTests(harness: string, { left, more }: Pick<DeepReport, 'left' | 'more'>): void {
  let tried = 0;
  let passed = 0;
  afterEach((context) => {
    tried += 1;
    if ('passed' in context && context.passed === true) passed += 1;
  });
  after(() => reportDeep(harness, { tried, passed, left, ...(more !== undefined && { more }) }));
}
