/**
 * The power is cut while a node upgrades: a sample of the moments. Every one is tried by
 * test/deep/power-cut.test.ts.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { PowerCuts, whyNoMount } from './power-cut.test.part.js';
import { assertAllPassed, sampleOf, tryAll } from './spread.test.part.js';
import { whyNoStrace } from './strace.test.part.js';

describe('a power cut', { skip: whyNoMount() ?? false }, () => {
  let cuts: PowerCuts;
  before(async () => {
    cuts = await PowerCuts.create();
  });
  after(() => cuts?.remove());

  test('in an upgrade leaves a node that is old or new', async () => {
    const copies = await cuts.copies('0b1');
    // With the last of them, so that the data behind a commit is looked at.
    const some = [...sampleOf(copies.slice(0, -1), 4), ...copies.slice(-1)];
    assertAllPassed(
      await tryAll(
        some.map((copy) => () => cuts.recover(copy)),
        { atOnce: 1 },
      ),
    );
  });

  test('on the way back leaves a node that is old', async () => {
    const copies = await cuts.copies('0b2');
    const some = sampleOf(copies.slice(copies.length / 2), 2);
    assertAllPassed(
      await tryAll(
        some.map((copy) => () => cuts.recover(copy)),
        { atOnce: 1 },
      ),
    );
  });

  test('finds an agent whose flushes do nothing', { skip: whyNoStrace() ?? false }, async () => {
    const copies = await cuts.copies('0b1', true);
    const some = copies.slice(-2);
    const { passed, failures } = await tryAll(
      some.map((copy) => () => cuts.recover(copy)),
      { atOnce: 1 },
    );
    assert.equal(passed, 0);
    assert.match(failures.join(), /of 9 durable records \d are on the disk/);
  });
});
