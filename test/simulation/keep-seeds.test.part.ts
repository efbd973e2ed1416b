/** Seeds that failed are entered into seeds.txt, whose histories every run of the tests plays first. */
import { appendFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Characters of a sentence that a line keeps. */
const sentenceChars = 160;

/**
 * Enters what is not there yet.
 * @param failures as `playMany` tells them: `seed N, guarantee G: SENTENCE`, and more lines
 * @returns the seeds that were entered
 */
export function keepSeeds(
  failures: readonly string[],
  file = join(process.cwd(), 'test', 'simulation', 'seeds.txt'),
): number[] {
  const known = new Set([...readFileSync(file, 'utf8').matchAll(/^\d+/gm)].map(([seed]) => seed));
  const found = failures.flatMap((failure) => {
    const [, seed, sentence] = /^seed (\d+), (.*)/.exec(failure) ?? [];
    return seed === undefined || sentence === undefined || known.has(seed) ? [] : [{ seed, sentence }];
  });
  for (const { seed, sentence } of found)
    appendFileSync(file, `${seed} ${sentence.slice(0, sentenceChars)}\n`);
  return found.map(({ seed }) => Number(seed));
}
