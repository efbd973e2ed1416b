/**
 * One door and what is thrown at it. A target draws its least number of cases, and goes on until its time
 * is over: `shortTimeMs` in `npm test`, PLEXI_HOSTILE_MS milliseconds in a long run. It fails when a case
 * breaks the promise, when a case does not end, and when the memory grows beyond its bound. A failure
 * prints the command that plays it again; what was found once is played first.
 */
import assert from 'node:assert/strict';
import { relative } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';

/** Milliseconds in which a target shall try its least number of cases on a slow machine; less when it has less. */
const countedMs = 4_000;
/** Milliseconds for each target in `npm test`. */
export const shortTimeMs = 600;
/** Milliseconds for each target. */
export const timeMs = Number(process.env.PLEXI_HOSTILE_MS ?? shortTimeMs);
/** Milliseconds after which one case counts as hanging. */
const caseMs = 30_000;
/** Bytes by which the process may grow while one target runs, garbage included. */
const growthMaxBytes = 384 * 1024 * 1024;
/** What a failure has printed, to play just this case again. */
const replay = {
  ...(process.env.PLEXI_SEED !== undefined && { seed: Number(process.env.PLEXI_SEED) }),
  ...(process.env.PLEXI_PATH !== undefined && { path: process.env.PLEXI_PATH, numRuns: 1 }),
};

export interface Target<Case> {
  /** What is promised, as the name of a test. */
  readonly name: string;
  readonly cases: fc.Arbitrary<Case>;
  /** Fewer cases than these show nothing; it is a small part of what a slow machine does. */
  readonly casesMin: number;
  /** Cases that broke the promise once, or that must always be among those that are tried. */
  readonly found?: readonly Case[];
  /** Throws when the promise is broken; returns what came of the case, in a word that is counted. */
  readonly check: (drawn: Case) => Promise<string> | string;
  /** What is looked at once, after the last case. */
  readonly after?: () => Promise<void> | void;
}

/** Makes a test of a target. @param moduleUrl the `import.meta.url` of the test's file */
export function hostile<Case>(moduleUrl: string, target: Target<Case>): void {
  const casesMin = Math.ceil(target.casesMin * Math.min(1, timeMs / countedMs));
  const found = (target.found ?? []).map((drawn): [Case] => [drawn]);
  test(target.name, { timeout: timeMs + (casesMin + found.length + 1) * caseMs }, async (t) => {
    const tally = new Tally();
    const endsAtMs = performance.now() + timeMs;
    const property = fc.asyncProperty(target.cases, async (drawn) => {
      await tally.run(() => target.check(drawn));
    });
    const draw = (numRuns: number, more: fc.Parameters<[Case]>) =>
      fc.check(property, { numRuns, timeout: caseMs, includeErrorInReport: true, ...more });
    // What a slow machine does, too; then what its time allows.
    let details = await draw(Math.max(casesMin, found.length), { examples: found, ...replay });
    const leftMs = endsAtMs - performance.now();
    let late: unknown;
    if (!details.failed && leftMs > 0 && replay.path === undefined) {
      details = await draw(Number.MAX_SAFE_INTEGER, {
        interruptAfterTimeLimit: leftMs,
        markInterruptAsFailure: false,
      });
      late = await tally.settled();
    }
    await target.after?.();
    report(t, tally);
    if (details.failed && details.counterexample !== null)
      throw new Error(`${fc.defaultReportMessage(details)}\n${again(moduleUrl, target.name, details)}`, {
        cause: details.errorInstance,
      });
    if (late !== undefined) throw late;
    assert.ok(tally.growthBytes < growthMaxBytes, `the process grew by ${tally.growthBytes} bytes`);
    if (replay.path === undefined)
      assert.ok(tally.count >= casesMin, `only ${tally.count} cases ran, of ${casesMin}`);
  });
}

/** The command that plays a failure again. */
function again(
  moduleUrl: string,
  name: string,
  { seed, counterexamplePath }: { readonly seed: number; readonly counterexamplePath: string | null },
): string {
  const file = relative(process.cwd(), fileURLToPath(moduleUrl));
  const pattern = name.replaceAll("'", '.');
  return (
    `play it again: PLEXI_SEED=${seed} PLEXI_PATH=${counterexamplePath} ` +
    `node --import tsx --test --test-name-pattern='${pattern}' ${file}`
  );
}

function report(t: TestContext, tally: Tally): void {
  const ends = [...tally.ends].sort(([, a], [, b]) => b - a).map(([end, of]) => `${of} ${end}`);
  const grown = Math.round(tally.growthBytes / 1024 / 1024);
  t.diagnostic(`${tally.count} cases, ${grown} MiB: ${ends.join(', ')}`);
}

/** Counts cases and how they ended, and follows the memory. */
class Tally {
  readonly ends = new Map<string, number>();
  count = 0;
  growthBytes = 0;
  private startBytes: number | undefined;
  private running: Promise<unknown> = Promise.resolve();

  async run(work: () => Promise<string> | string): Promise<void> {
    const working = (async () => work())();
    this.running = working;
    const end = await working;
    this.ends.set(end, (this.ends.get(end) ?? 0) + 1);
    this.count += 1;
    const { rss } = process.memoryUsage();
    // The first case has loaded what is loaded once.
    this.startBytes ??= rss;
    this.growthBytes = Math.max(this.growthBytes, rss - this.startBytes);
  }

  /** Resolves when the case that the end of the time met has ended, too, with what it threw. */
  settled(): Promise<unknown> {
    return this.running.then(
      () => undefined,
      (thrown) => thrown,
    );
  }
}
