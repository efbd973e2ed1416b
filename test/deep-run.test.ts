/**
 * How a deep run spends its time: what was built is tried, and nothing more once the sources have changed; each
 * harness has its share, beside those that mostly wait; the last line says of what it tells.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const root = fileURLToPath(new URL('..', import.meta.url));
let copy = '';

before(async () => {
  copy = await mkdtemp(join(tmpdir(), 'plexi-deep-'));
  for (const file of ['deploy/setup', 'test/deep-run.mjs', 'test/changed-source.mjs', 'test/rooms.mjs'])
    await cp(join(root, file), join(copy, file), { recursive: true });
  await writeFile(join(copy, 'package.json'), '{"type":"module"}\n');
  await mkdir(join(copy, 'controller'));
});
after(() => rm(copy, { recursive: true, force: true }));

/** What a program beside the copies prints as JSON. */
async function told(program: string): Promise<unknown> {
  const text = `import { runDeep, deepSummary, triedCommit } from './test/deep-run.mjs';
    import { sourceChangedSince, sourcesNow } from './test/changed-source.mjs';
    import { rmSync, writeFileSync } from 'node:fs';
    const files = (...names) => names.map((name) => 'test/deep/' + name + '.test.ts');
    console.log(JSON.stringify(await (async () => { ${program} })()));`;
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', text], {
    cwd: copy,
  });
  return JSON.parse(stdout);
}

describe('sources that change in a deep run', () => {
  const changes = {
    'one that is written': "writeFileSync('controller/a.ts', '2')",
    'one that is new': "writeFileSync('controller/c.ts', '')",
    'one that is removed': "rmSync('controller/a.ts')",
  };
  for (const [name, change] of Object.entries(changes))
    test(`${name} is named, and nothing is tried behind it`, async () => {
      await rm(join(copy, 'controller', 'c.ts'), { force: true });
      for (const file of ['a.ts', 'b.ts']) await writeFile(join(copy, 'controller', file), '1');
      await utimes(join(copy, 'controller', 'a.ts'), 1, 1);
      // A source of a clock that is ahead is no change.
      await utimes(join(copy, 'controller', 'b.ts'), 9e9, 9e9);
      const ran = await told(`
        const built = sourcesNow();
        const before = sourceChangedSince(built) ?? 'unchanged';
        const ran = [];
        const runFiles = async (name) => { ran.push(name); ${change}; };
        const changedSource = () => sourceChangedSince(built);
        await runDeep(files('hostile', 'partitions'), { minutes: 1, runFiles, changedSource });
        return { before, ran, after: changedSource() };`);
      const changed = name === 'one that is new' ? 'controller/c.ts' : 'controller/a.ts';
      const hostile = 'deep: test/deep/hostile.test.ts';
      assert.deepEqual(ran, { before: 'unchanged', ran: [hostile], after: changed });
    });
});

test('outages and the simulation have all of the time beside the others, which share it', async () => {
  const shares = (await told(`
    const shares = {};
    const runFiles = async (name, [file], { environment, isBackground = false }) => {
      const minutes = Number(environment.PLEXI_DEEP_MINUTES);
      shares[file.split('/').pop().split('.')[0]] = { minutes, isBackground };
    };
    const all = files('hostile', 'outages', 'planted', 'simulation', 'system-calls');
    await runDeep(all, { minutes: 20, runFiles, changedSource: () => undefined });
    return shares;`)) as Record<string, { minutes: number; isBackground: boolean }>;
  const whole = ({ minutes }: { minutes: number } = { minutes: 0 }): boolean => minutes > 19 && minutes <= 20;
  assert.ok(whole(shares.outages) && whole(shares.simulation), JSON.stringify(shares));
  assert.deepEqual([shares.outages?.isBackground, shares.simulation?.isBackground], [false, true]);
  assert.ok((shares.hostile?.minutes ?? 20) < 10, 'its share');
  const order = Object.keys(shares).filter((name) => name !== 'outages' && name !== 'simulation');
  assert.deepEqual(order, ['planted', 'hostile', 'system-calls'], 'what has an end comes first');
  assert.ok(whole(shares['system-calls']), 'what the one before it did not need');
});

test('the last line has the commit, the time that it took, and what was not tried', async () => {
  const line = await told(`
    const report = { harness: 'power cut', tried: 3, passed: 2, left: 4, more: 'in words' };
    const at = (commit) => deepSummary([report], { minutes: 5, commit });
    return [triedCommit(), at('abc1234+changes'), at('')];`);
  const points = '3 points tried, 2 points passed (power cut 2/3, 4 not tried, in words)';
  assert.deepEqual(line, [
    '',
    `deep, 5 minutes (0.0 taken) at abc1234+changes: ${points}`,
    `deep, 5 minutes (0.0 taken): ${points}`,
  ]);
});
