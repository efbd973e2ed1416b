/**
 * `npm run coverage`: the places where a wrong line costs data or availability have every line and every branch
 * run by the tests that stand beside them and by the transcripts. Exit code 1 and the list when something is
 * left. A file that no test loads counts as not run at all, unless it holds nothing but types. A branch that
 * nothing can reach is taken out of the code, not out of this list.
 *
 *   node test/coverage.mjs                     all places
 *   node test/coverage.mjs controller/rollout  only places whose path contains one of the words
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { argv, env, execPath, exit } from 'node:process';
import { checkout } from '../deploy/setup/checkout.mjs';
import { generateCode } from '../deploy/setup/compile.mjs';
import { ensureEtcd } from '../deploy/setup/etcd.mjs';
import { installPackages } from '../deploy/setup/packages.mjs';

const say = (text) => process.stderr.write(`${text}\n`);
await installPackages(say);
env.PATH += delimiter + dirname(ensureEtcd(say).etcd);
await generateCode();
const { default: ts } = await import('typescript');

/**
 * What is measured, and the tests that must reach all of it. No random histories are among them: what they
 * reach differs from run to run.
 */
const places = [
  { covered: 'controller/rollout', tests: ['controller/rollout', 'test/scenarios'] },
  { covered: 'controller/leadership', tests: ['controller/leadership'] },
  {
    covered: 'node-agent/journal',
    tests: ['node-agent/journal/journal.test.ts', 'node-agent/journal/recover.test.ts'],
  },
  { covered: 'node-agent/api/fence', tests: ['node-agent/api/fence.test.ts'] },
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
      ...[c8, '--all', '--reporter=text', '--clean', '--check-coverage', '--lines=100', '--branches=100'],
      ...sourceFiles(covered).map((file) => `--include=${file}`),
      ...[execPath, '--import', 'tsx', '--test', '--test-concurrency=2', '--test-timeout=240000'],
      ...['--test-reporter=./test/reporter.mjs', '--test-reporter-destination=stdout'],
      ...tests.flatMap((place) => filesIn(place, (name) => name.endsWith('.test.ts'))),
    ],
    { cwd: checkout, stdio: 'inherit' },
  );
  return result.status === 0;
}

/** The files of a place in which there is something to run. */
function sourceFiles(covered) {
  const place = existsSync(join(checkout, `${covered}.ts`)) ? `${covered}.ts` : covered;
  return filesIn(place, (name) => /(?<!\.test|\.test\.part)\.ts$/.test(name)).filter(hasCode);
}

/** Whether anything is left of a file once its types are taken out. */
function hasCode(file) {
  const { outputText } = ts.transpileModule(readFileSync(join(checkout, file), 'utf8'), {
    compilerOptions: {
      ...{ module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2023 },
      ...{ removeComments: true, verbatimModuleSyntax: true },
    },
  });
  return outputText.replace('export {};', '').trim() !== '';
}

function filesIn(place, isWanted) {
  if (statSync(join(checkout, place)).isFile()) return [place];
  return readdirSync(join(checkout, place), { recursive: true })
    .filter(isWanted)
    .map((name) => join(place, name))
    .sort();
}
