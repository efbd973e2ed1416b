/**
 * What `npm test` counts: tests, once each; and nothing that went wrong is left out, also when it
 * happened outside of a test.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const reporter = fileURLToPath(new URL('reporter.mjs', import.meta.url));
const files = {
  'good.test.mjs': `
    describe('suite', () => { test('one', () => {}); test('two', () => {}); });
    test('parent', async (t) => { await t.test('three', () => {}); });
    test('four', { skip: 'no such tool here' }, () => {});`,
  'bad.test.mjs': `
    describe('suite', () => { test('fails', () => { throw new Error('seen'); }); test('five', () => {}); });
    test('parent', async (t) => { await t.test('fails inside', () => { throw new Error('also seen'); }); });`,
  'hook.test.mjs': `
    describe('suite', () => { after(() => { throw new Error('hook broke'); }); test('six', () => {}); });`,
  'crash.test.mjs': "throw new Error('at load');",
  'empty.test.mjs': '',
};

test('the reporter counts each test once, and every failure', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'plexi-reporter-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const heading = "import { after, describe, test } from 'node:test';\n";
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), `${heading}${text}`);
  const counts = join(folder, 'counts.json');
  // The variable by which the runner tells its children that they are: this one is none of ours.
  const { NODE_TEST_CONTEXT: _context, ...environment } = process.env;
  const options = ['--test', `--test-reporter=${reporter}`, '--test-reporter-destination=stdout'];
  const run = spawnSync(process.execPath, [...options, ...Object.keys(files)], {
    cwd: folder,
    encoding: 'utf8',
    env: { ...environment, PLEXI_TEST_COUNTS: counts },
  });
  const { passed, failed, skipped, failures } = JSON.parse(await readFile(counts, 'utf8'));
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
  assert.match(run.stdout, /^FAILED bad\.test\.mjs: fails$/m);
});
