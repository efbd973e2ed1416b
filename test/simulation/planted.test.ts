/**
 * The simulation would see it: each planted bug breaks the promise that the list names, in a history that holds
 * without it. The one of the seed that is kept with it is played first; a change of the product may take the
 * histories elsewhere, and then others are. Every sixth of the list; test/deep/planted.test.ts plays all of it.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { deepUntilMs, reportDeep } from '../deep/share.test.part.js';
import { drawn } from './drawn.test.part.js';
import { type PlantedBug, plantedBugs } from './planted-bugs.test.part.js';
import { play } from './simulation.test.part.js';

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

test('each says which guarantee it breaks, and how where it is none; track-record.md says the same', async () => {
  const document = await readFile(join(checkout, 'docs', 'track-record.md'), 'utf8');
  for (const { name, breaks, says, seed } of plantedBugs) {
    assert.ok(breaks.length > 0, name);
    assert.equal(breaks.includes(0), says !== undefined, name);
    assert.ok(
      document.includes(`| ${name} | ${breaks.join(', ')} | ${seed} |`),
      `${name} in track-record.md`,
    );
  }
});

const sum = { tried: 0, passed: 0 };
after(() => {
  if (isAll) reportDeep('planted bugs', { ...sum, left: played.length - sum.tried });
});
/** By which a bug was seen. */
const seeds = new Set<number>();

describe('the simulation finds it when', { concurrency: 2 }, () => {
  for (const bug of played) {
    test(bug.name, async (t) => {
      if (isAll && performance.now() > deepUntilMs()) return t.skip('no time is left');
      sum.tried += 1;
      const found = (await playWith(bug, bug.seed, 1)) ?? (await playWith(bug, 1, seedsMax));
      assert.ok(found, `nothing sees it in ${seedsMax} histories`);
      assertIsOf(bug, found);
      seeds.add(found.seed);
      sum.passed += 1;
      t.diagnostic(`${bug.name}: ${found.line}`);
    });
  }
});

test('the histories that show them hold without a bug', async () => {
  assert.ok(seeds.size > 0, 'no bug was seen');
  for (const seed of seeds) {
    const { broken } = await play(drawn(seed));
    assert.equal(broken, undefined, `seed ${seed} breaks without a bug: ${broken?.sentence}`);
  }
});

test('a mistake in the words of a bug is not the bug, and words that change nothing break nothing', async () => {
  const attempts = plantedBugs.find(({ name }) => name === 'attempts are not counted');
  assert.ok(attempts);
  const mistaken = await playWith({ ...attempts, wrong: 'const attempt = nonsense;' }, 1, 1);
  assert.ok(mistaken, 'a history breaks on it all the same');
  assert.throws(() => assertIsOf(attempts, mistaken), /guarantee 0/);
  assert.throws(() => assertIsOf({ ...attempts, breaks: [0], says: 'in a circle' }, mistaken), /in a circle/);
  assert.equal(await playWith({ ...attempts, wrong: attempts.right }, 1, 1), undefined);
});

test('a bug that is not where the list says is an error, and not a bug that nothing sees', async () => {
  const nowhere = { right: 'never there', wrong: '', seed: 1, breaks: [1] };
  await assert.rejects(
    playWith({ ...nowhere, name: '', file: 'node-agent/api/fence.ts' }, 1, 1),
    /holds 0 times/,
  );
});

interface Found {
  readonly seed: number;
  readonly guarantee: number;
  /** What is printed of it. */
  readonly line: string;
}

/** Throws when what broke is not what the bug breaks. */
function assertIsOf({ name, breaks, says = '' }: PlantedBug, { guarantee, line }: Found): void {
  assert.ok(
    breaks.includes(guarantee),
    `${name} breaks guarantee ${breaks.join(' or ')}, and this is ${line}`,
  );
  if (guarantee === 0) assert.ok(line.includes(says), `${name} breaks with ${says}, and this is ${line}`);
}

/** @returns which seed broke which guarantee first; undefined when none did */
function playWith(bug: PlantedBug, from: number, count: number): Promise<Found | undefined> {
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
      const [line, seed, guarantee] = /^seed (\d+), guarantee (\d+): .*$/m.exec(stdout) ?? [];
      // A program that ended badly without a broken promise shows nothing.
      if (error !== null && line === undefined) reject(new Error(`${error.message}\n${stderr}`));
      else
        resolve(line === undefined ? undefined : { seed: Number(seed), guarantee: Number(guarantee), line });
    });
  });
}
