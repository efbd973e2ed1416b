/**
 * The simulation would see it: each planted bug breaks a promise in a history. The one of the seed that is kept
 * with it is played first; a change of the product may take the histories elsewhere, and then others are.
 * Every sixth of the list; test/deep/planted.test.ts plays all of it.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { deepUntilMs, reportDeep } from '../deep/share.test.part.js';
import { type PlantedBug, plantedBugs } from './planted-bugs.test.part.js';

const checkout = fileURLToPath(new URL('../..', import.meta.url));
/** Histories in which a bug is looked for that the one of its seed does not bring to light. */
const seedsMax = 150;
const isAll = process.env.PLEXI_DEEP_MINUTES !== undefined;
const played = plantedBugs.filter((_, index) => isAll || index % 6 === 0);

test('at least thirty bugs are planted, each under its own name', () => {
  assert.ok(plantedBugs.length >= 30);
  assert.equal(new Set(plantedBugs.map(({ name }) => name)).size, plantedBugs.length);
});

test('each is where the list says, once', async () => {
  for (const { name, file, right } of plantedBugs) {
    const source = await readFile(join(checkout, file), 'utf8');
    assert.equal(source.split(right).length - 1, 1, `${name}: ${file} does not hold it once: ${right}`);
  }
});

const sum = { tried: 0, passed: 0 };
after(() => {
  if (isAll) reportDeep('planted bugs', { ...sum, left: played.length - sum.tried });
});

describe('the simulation finds it when', { concurrency: 2 }, () => {
  for (const bug of played) {
    test(bug.name, async (t) => {
      if (isAll && performance.now() > deepUntilMs()) return t.skip('no time is left');
      sum.tried += 1;
      const found = (await playWith(bug, bug.seed, 1)) ?? (await playWith(bug, 1, seedsMax));
      assert.ok(found, `nothing sees it in ${seedsMax} histories`);
      sum.passed += 1;
      t.diagnostic(`${bug.name}: ${found}`);
    });
  }
});

test('a bug that is not where the list says is an error, and not a bug that nothing sees', async () => {
  const nowhere = { name: '', file: 'node-agent/api/fence.ts', right: 'never there', wrong: '', seed: 1 };
  await assert.rejects(playWith(nowhere, 1, 1), /holds 0 times/);
});

/** @returns which seed broke which guarantee; undefined when none did */
function playWith(bug: PlantedBug, from: number, count: number): Promise<string | undefined> {
  const loader = `./${join('test', 'simulation', 'planted-loader.mjs')}`;
  const replay = join('dist', 'test', 'simulation', 'replay.test.part.js');
  const words = [
    '--import',
    loader,
    replay,
    '--from',
    `${from}`,
    '--count',
    `${count}`,
    '--until-broken',
    '--jobs',
    '1',
  ];
  const env = { ...process.env, PLEXI_PLANTED: JSON.stringify(bug) };
  return new Promise((resolve, reject) => {
    execFile(process.execPath, words, { cwd: checkout, env }, (error, stdout, stderr) => {
      const found = /^seed \d+, guarantee \d+: .*$/m.exec(stdout)?.[0];
      // A program that ended badly without a broken promise shows nothing.
      if (error !== null && found === undefined) reject(new Error(`${error.message}\n${stderr}`));
      else resolve(found);
    });
  });
}
