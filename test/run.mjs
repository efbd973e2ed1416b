/**
 * `npm test`: set-up, lint, build (which is the type check), then every test with node:test. At the end
 * stands `N passed, N failed`, alone on its line; the exit code is 0 only when nothing failed.
 *
 *   node test/run.mjs                     everything
 *   node test/run.mjs release fence       only test files whose path contains one of the words; no lint
 *   node test/run.mjs scenarios --update writes the transcripts of test/scenarios anew
 *   node test/run.mjs --deep --minutes 5  only test/deep/, which shares 5 minutes; the last line says what
 *                                         was tried
 *   node test/run.mjs --times             tells also which files took longest
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { constants, setPriority, tmpdir } from 'node:os';
import { delimiter, dirname, join, relative, sep } from 'node:path';
import { argv, env, execPath, exit } from 'node:process';
import { parseArgs } from 'node:util';
import { checkout, readIfThere } from '../deploy/setup/checkout.mjs';
import { build, generateCode } from '../deploy/setup/compile.mjs';
import { ensureEtcd } from '../deploy/setup/etcd.mjs';
import { installPackages } from '../deploy/setup/packages.mjs';
import { sourceChangedSince, sourcesNow } from './changed-source.mjs';
import { deepSummary, runDeep, triedCommit } from './deep-run.mjs';
import { rooms } from './rooms.mjs';

const { values, positionals: filters } = parseArgs({
  args: argv.slice(2),
  allowPositionals: true,
  options: {
    deep: { type: 'boolean', default: false },
    minutes: { type: 'string', default: '10' },
    times: { type: 'boolean', default: false },
    update: { type: 'boolean', default: false },
  },
});
if (values.update) env.UPDATE_SCENARIOS = '1';
const say = (text) => process.stdout.write(`${text}\n`);
const total = { passed: 0, failed: 0, skipped: 0, failures: [] };
/** What each deep harness says that it has tried. */
const deepReports = [];
/** With --times: what each test file took. */
const fileTimes = [];
const timesShown = 25;
const minutes = Number(values.minutes);
if (!(minutes > 0)) throw new Error(`--minutes must be a number above 0, not ${values.minutes}`);

const commit = values.deep ? triedCommit() : '';
if (await stage('set-up', setUp)) {
  // Beside each other; both look at the generated code. The tests tell more beside a finding of the linter;
  // without a build there is nothing to test.
  const linted = filters.length === 0 && !values.deep ? stage('lint', lint) : undefined;
  const built = sourcesNow();
  const isBuilt = await stage('build and type check', build);
  await linted;
  if (isBuilt) await runTests(built);
}
exit(summary());

/** Runs one stage before the tests; a failure counts as one failed check. Returns whether it succeeded. */
async function stage(name, work) {
  const startedAt = performance.now();
  try {
    await work();
    say(`${name}: ${((performance.now() - startedAt) / 1_000).toFixed(1)} s`);
    return true;
  } catch (error) {
    total.failures.push(`FAILED ${name}: ${error.message}`);
    total.failed += 1;
    return false;
  }
}

/** etcd fetched into the cache is put on PATH, so that tests and what they start find it by name. */
async function setUp() {
  await installPackages(say);
  const folder = dirname(ensureEtcd(say).etcd);
  if (!env.PATH.split(delimiter).includes(folder)) env.PATH += delimiter + folder;
  await generateCode();
}

async function lint() {
  const linter = spawn(execPath, [join('test', 'lint.mjs')], { cwd: checkout, stdio: 'inherit' });
  const [status] = await once(linter, 'exit');
  if (status !== 0) throw new Error('see above');
}

async function runTests(built) {
  const files = rooms.flatMap(testFiles).filter((file) => isWanted(file));
  const isDeep = (file) => file.startsWith(join('test', 'deep') + sep);
  if (values.deep) return runWhileUnchanged(files.filter(isDeep), built);
  // Most of them wait now and then, for a lease or for a cluster: one more than there are cores on a small machine.
  await runFiles(
    'tests',
    files.filter((file) => !isDeep(file)),
    { concurrency: 3 },
  );
}

/** A deep run takes long enough for somebody to edit the sources meanwhile; then it says nothing about them. */
async function runWhileUnchanged(files, built) {
  const changedSource = () => sourceChangedSince(built);
  await runDeep(files, { minutes, runFiles, changedSource });
  const changed = changedSource();
  if (changed === undefined) return;
  total.failures.push(
    `FAILED deep: ${changed} was changed since the build, so it is not known what was tried`,
  );
  total.failed += 1;
}

function isWanted(file) {
  return filters.length === 0 || filters.some((filter) => file.includes(filter));
}

function testFiles(room) {
  if (!existsSync(join(checkout, room))) return [];
  return readdirSync(join(checkout, room), { recursive: true })
    .filter((name) => name.endsWith('.test.ts'))
    .map((name) => join(room, name))
    .sort();
}

/**
 * A file that is not done after `timeoutMs` has failed: a test that hangs must not hold everything up.
 * `isBackground`: everything else on this machine goes first.
 */
async function runFiles(name, files, options) {
  if (files.length === 0) return;
  const { concurrency = 1, timeoutMs = 300_000, environment = {}, isBackground = false } = options;
  const startedAt = performance.now();
  const folder = mkdtempSync(join(tmpdir(), 'plexi-test-'));
  const counts = join(folder, 'counts.json');
  const report = join(folder, 'deep.jsonl');
  const times = join(folder, 'times.jsonl');
  const words = [
    '--import',
    join(checkout, 'test', 'built-loader.mjs'),
    ...(values.times ? ['--import', join(checkout, 'test', 'file-times.mjs')] : []),
    '--test',
    `--test-concurrency=${concurrency}`,
    `--test-timeout=${Math.round(timeoutMs)}`,
    '--test-reporter=./test/reporter.mjs',
  ];
  const runner = spawn(execPath, [...words, '--test-reporter-destination=stdout', ...files], {
    cwd: checkout,
    stdio: 'inherit',
    env: {
      ...env,
      PLEXI_TEST_COUNTS: counts,
      PLEXI_DEEP_REPORT: report,
      PLEXI_TEST_TIMES: times,
      ...environment,
    },
  });
  if (isBackground) setPriority(runner.pid, constants.priority.PRIORITY_LOW);
  const [status, signal] = await once(runner, 'exit');
  add(name, { status, signal }, counts);
  deepReports.push(...linesOf(report));
  fileTimes.push(...linesOf(times));
  rmSync(folder, { recursive: true, force: true });
  say(`${name}: ${files.length} files, ${((performance.now() - startedAt) / 1_000).toFixed(1)} s`);
}

/** What stands in a file of JSON lines; nothing where there is none. */
function linesOf(file) {
  const lines = (readIfThere(file) ?? '').split('\n').filter(Boolean);
  return lines.map((line) => JSON.parse(line));
}

/** A runner that ends badly without a counted failure has failed all the same. */
function add(name, result, countsFile) {
  const counts = existsSync(countsFile)
    ? JSON.parse(readFileSync(countsFile, 'utf8'))
    : { passed: 0, failed: 0, skipped: 0, failures: [] };
  if (result.status !== 0 && counts.failed === 0) {
    counts.failed = 1;
    counts.failures.push(`FAILED ${name}: the test runner ended with ${result.signal ?? result.status}`);
  }
  for (const key of ['passed', 'failed', 'skipped']) total[key] += counts[key];
  total.failures.push(...counts.failures);
}

/** Prints what failed and the counts; returns the exit code. */
function summary() {
  if (total.passed + total.failed === 0) {
    total.failed = 1;
    total.failures.push(`FAILED no test matches ${filters.join(', ')}`);
  }
  if (values.times) say(slowestFiles());
  if (total.failures.length > 0) say(`\n${total.failures.join('\n')}\n`);
  const skipped = total.skipped === 0 ? '' : `, ${total.skipped} skipped`;
  say(`${total.passed} passed, ${total.failed} failed${skipped}`);
  if (values.deep) say(deepSummary(deepReports, { minutes, commit }));
  return total.failed === 0 ? 0 : 1;
}

/** The sums over all files, and the files that took longest. */
function slowestFiles() {
  const inColumns = (seconds, cpuSeconds, what) =>
    `${seconds.toFixed(1).padStart(9)} s${cpuSeconds.toFixed(1).padStart(9)} s  ${what}`;
  const sum = (key) => fileTimes.reduce((before, times) => before + times[key], 0);
  const lines = fileTimes
    .sort((one, other) => other.seconds - one.seconds)
    .slice(0, timesShown)
    .map(({ file, seconds, cpuSeconds }) => inColumns(seconds, cpuSeconds, relative(checkout, file)));
  const all = inColumns(sum('seconds'), sum('cpuSeconds'), `all ${fileTimes.length} files`);
  return ['       took  processor', all, ...lines].join('\n');
}
