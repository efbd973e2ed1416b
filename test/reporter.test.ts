/**
 * What `npm test` counts: tests, once each; and nothing that went wrong is left out, also when it
 * happened outside of a test. What is skipped says why, and is a failure where it should run.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const reporter = fileURLToPath(new URL('reporter.mjs', import.meta.url));
const files: Record<string, string> = {
  'good.test.mjs': `
    describe('suite', () => { test('one', () => {}); test('two', () => {}); });
    test('parent', async (t) => { await t.test('three', () => {}); });
    test('four', { skip: 'no such tool here' }, () => {});`,
  'skipped.test.mjs': `
    describe('a whole suite', { skip: 'no root' }, () => { test('a', () => {}); test('b', () => {}); });
    describe('suite', () => { test('seven', () => {}); test('in a suite', (t) => t.skip('no disk')); });
    test('silent', { skip: true }, () => {});
    test('elsewhere', { skip: 'by design: in the deep run' }, () => {});`,
  'bad.test.mjs': `
    describe('suite', () => { test('fails', () => { throw new Error('seen'); }); test('five', () => {}); });
    test('parent', async (t) => { await t.test('fails inside', () => { throw new Error('also seen'); }); });`,
  'hook.test.mjs': `
    describe('suite', () => { after(() => { throw new Error('hook broke'); }); test('six', () => {}); });`,
  'crash.test.mjs': "throw new Error('at load');",
  'empty.test.mjs': '',
};

interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  readonly failures: string[];
}

/** Runs some of the files, and returns what the reporter printed and counted. */
async function reported(t: TestContext, names: readonly string[], more: Record<string, string> = {}) {
  const folder = await mkdtemp(join(tmpdir(), 'plexi-reporter-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const heading = "import { after, describe, test } from 'node:test';\n";
  for (const name of names) await writeFile(join(folder, name), `${heading}${files[name]}`);
  const counts = join(folder, 'counts.json');
  // The variables by which a runner tells its children that they are: this one is none of ours.
  const { NODE_TEST_CONTEXT: _context, PLEXI_NO_SKIP: _noSkip, ...environment } = process.env;
  const options = ['--test', `--test-reporter=${reporter}`, '--test-reporter-destination=stdout'];
  const { stdout } = spawnSync(process.execPath, [...options, ...names], {
    cwd: folder,
    encoding: 'utf8',
    env: { ...environment, PLEXI_TEST_COUNTS: counts, ...more },
  });
  const counted: Counts = JSON.parse(await readFile(counts, 'utf8'));
  return { stdout, ...counted };
}

test('the reporter counts each test once, and every failure', async (t) => {
  const names = Object.keys(files).filter((name) => name !== 'skipped.test.mjs');
  const { stdout, passed, failed, skipped, failures } = await reported(t, names);
  assert.deepEqual({ passed, failed, skipped }, { passed: 5, failed: 5, skipped: 1 });
  const reasons = failures.join('\n');
  for (const reason of [
    'seen',
    'also seen',
    'hook broke',
    'crash.test.mjs',
    'empty.test.mjs',
    'holds no test',
  ]) {
    assert.ok(reasons.includes(reason), `${reason} is missing in:\n${reasons}`);
  }
  assert.match(stdout, /^FAILED bad\.test\.mjs: fails$/m);
});

const skips = [
  'skipped: a whole suite: no root',
  'skipped: in a suite: no disk',
  'skipped: silent: no reason is given',
  'skipped: elsewhere: by design: in the deep run',
];

test('what is skipped is told in a line with its reason, and a suite that is skipped counts', async (t) => {
  const { stdout, passed, failed, skipped } = await reported(t, ['skipped.test.mjs']);
  assert.deepEqual({ passed, failed, skipped }, { passed: 1, failed: 0, skipped: 4 });
  assert.deepEqual(linesOf(stdout), skips);
});

test('where every tool is there, a skip is a failure unless it is by design', async (t) => {
  const ran = await reported(t, ['skipped.test.mjs'], { PLEXI_NO_SKIP: '1' });
  const { stdout, passed, failed, skipped, failures } = ran;
  assert.deepEqual({ passed, failed, skipped }, { passed: 1, failed: 3, skipped: 1 });
  assert.deepEqual(linesOf(stdout), skips);
  for (const [index, line] of skips.slice(0, 3).entries())
    assert.equal(failures[index], `FAILED ${line}; with PLEXI_NO_SKIP=1 it has to run`);
});

function linesOf(stdout: string): string[] {
  return stdout.split('\n').filter((line) => line.startsWith('skipped: '));
}
