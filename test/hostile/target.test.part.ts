/**
 * One door and what is thrown at it. A target draws cases until its time is over: `shortTimeMs` in
 * `npm test`, PLEXI_HOSTILE_MS milliseconds in a long run. It fails when a case breaks the promise, when a
 * case does not end, when the memory grows beyond its bound, and when so few cases ran that it shows
 * nothing. A failure prints the command that plays it again; what was found once is played first.
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
const replay = { seed: process.env.PLEXI_SEED, path: process.env.PLEXI_PATH };

export interface Target<Case> {
  /** What is promised, as the name of a test. */
  readonly name: string;
  readonly cases: fc.Arbitrary<Case>;
  /** Fewer cases than these show nothing; it is a small part of what a slow machine does. */
  readonly casesMin: number;
  /** Milliseconds that one case may need, when that is more than a target usually has. */
  readonly msMin?: number;
  /** Cases that broke the promise once, or that must always be among those that are tried. */
  readonly found?: readonly Case[];
  /** Throws when the promise is broken; returns what came of the case, in a word that is counted. */
  readonly check: (drawn: Case) => Promise<string> | string;
  /** What is looked at once, after the last case. */
  readonly after?: () => Promise<void> | void;
}

/** Makes a test of a target. @param moduleUrl the `import.meta.url` of the test's file */
export function hostile<Case>(moduleUrl: string, target: Target<Case>): void {
  test(target.name, { timeout: timeMs + (target.msMin ?? 0) + 3 * caseMs }, async (t) => {
    const tally = new Tally();
    const casesMin = Math.ceil(target.casesMin * Math.min(1, timeMs / countedMs));
    const details = await fc.check(
      fc.asyncProperty(target.cases, async (drawn) => {
        await tally.run(() => target.check(drawn));
      }),
      {
        numRuns: Number.MAX_SAFE_INTEGER,
        interruptAfterTimeLimit: Math.max(timeMs, target.msMin ?? 0),
        markInterruptAsFailure: false,
        timeout: caseMs,
        includeErrorInReport: true,
        examples: (target.found ?? []).map((drawn): [Case] => [drawn]),
        ...(replay.seed !== undefined && { seed: Number(replay.seed) }),
        ...(replay.path !== undefined && { path: replay.path, numRuns: 1 }),
      },
    );
    const late = await tally.settled();
    await target.after?.();
    report(t, tally);
    // The end of the time met the first case of all.
    if (details.failed && details.counterexample === null) throw late ?? new Error('no case ended in time');
    if (!details.failed && late !== undefined) throw late;
    if (details.failed)
      throw new Error(`${fc.defaultReportMessage(details)}\n${again(moduleUrl, target.name, details)}`, {
        cause: details.errorInstance,
      });
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
