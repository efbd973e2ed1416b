/**
 * What each test file took: imported beside it, this adds a line to the file that PLEXI_TEST_TIMES names when
 * its process ends. Processor time is that of the process and of those it started and saw end; /proc knows
 * both in hundredths of a second.
 */
import { appendFileSync, readFileSync } from 'node:fs';
import { argv, env } from 'node:process';
import { isMainThread } from 'node:worker_threads';

const isTestFile = isMainThread && env.NODE_TEST_CONTEXT !== undefined && argv[1]?.endsWith('.test.ts');
if (isTestFile && env.PLEXI_TEST_TIMES) {
  process.on('exit', () => {
    const took = { file: argv[1], seconds: performance.now() / 1_000, cpuSeconds: cpuSeconds() };
    appendFileSync(env.PLEXI_TEST_TIMES, `${JSON.stringify(took)}\n`);
  });
}

/** utime, stime, cutime and cstime are the 14th to 17th word; the second is a name in brackets. */
function cpuSeconds() {
  const words = readFileSync('/proc/self/stat', 'utf8')
    .replace(/^.*\) /s, '')
    .split(' ');
  return words.slice(11, 15).reduce((sum, word) => sum + Number(word), 0) / 100;
}
