/**
 * `npm run coverage`: the places where nothing may be untried have every line and every branch run by the
 * tests that stand beside them, by the transcripts and by the histories. Exit code 1 and the list when
 * something is left. A branch that nothing can reach is taken out of the code, not out of this list.
 *
 *   node test/coverage.mjs                     all places
 *   node test/coverage.mjs controller/rollout  only places whose path contains one of the words
 */
import { spawnSync } from 'node:child_process';
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { argv, execPath, exit } from 'node:process';
import { checkout } from '../deploy/setup/checkout.mjs';

/** What is measured, and the tests that must reach all of it. */
const places = [
  { covered: 'controller/rollout', tests: ['controller/rollout', 'test/scenarios', 'test/properties'] },
  { covered: 'controller/leadership', tests: ['controller/leadership', 'test/cluster/takeover.test.ts'] },
  { covered: 'node-agent/journal', tests: ['node-agent/journal'] },
  { covered: 'node-agent/api/fence', tests: ['node-agent/api'] },
  { covered: 'node-agent/disk', tests: ['node-agent/disk'] },
];

const words = argv.slice(2);
const wanted = places.filter(
  ({ covered }) => words.length === 0 || words.some((word) => covered.includes(word)),
);
const incomplete = wanted.filter((place) => !isComplete(place)).map(({ covered }) => covered);
process.stdout.write(
  incomplete.length === 0 ? 'every line and branch was run\n' : `not all was run: ${incomplete.join(', ')}\n`,
);
exit(incomplete.length === 0 ? 0 : 1);

/** Runs the tests of one place under c8, and prints its table. */
function isComplete({ covered, tests }) {
  const c8 = join('node_modules', 'c8', 'bin', 'c8.js');
  const result = spawnSync(
    execPath,
    [
      ...[c8, '--reporter=text', '--clean', '--check-coverage', '--lines=100', '--branches=100'],
      ...['--exclude=**/*.test.ts', '--exclude=**/*.test.part.ts', ...includes(covered)],
      ...[execPath, '--import', 'tsx', '--test', '--test-concurrency=2', '--test-timeout=240000'],
      ...['--test-reporter=./test/reporter.mjs', '--test-reporter-destination=stdout'],
      ...tests.flatMap(testFiles),
    ],
    { cwd: checkout, stdio: 'inherit' },
  );
  return result.status === 0;
}

function includes(covered) {
  return [`--include=${covered}.ts`, `--include=${covered}/**/*.ts`];
}

function testFiles(place) {
  if (statSync(join(checkout, place)).isFile()) return [place];
  return readdirSync(join(checkout, place), { recursive: true })
    .filter((name) => name.endsWith('.test.ts'))
    .map((name) => join(place, name))
    .sort();
}
