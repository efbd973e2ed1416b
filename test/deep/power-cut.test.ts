/** The power is cut before and behind each record of an upgrade, and of one that goes back. */
import { describe, test } from 'node:test';
import { PowerCuts, whyNoMount } from '../crash/power-cut.test.part.js';
import { assertAllPassed, spread, tryAll } from '../crash/spread.test.part.js';
import { deepUntilMs, reportDeep } from './share.test.part.js';

describe('a power cut at each record', { skip: whyNoMount() ?? false }, () => {
  test('leaves a node that is old or new', async (t) => {
    const cuts = await PowerCuts.create();
    t.after(() => cuts.remove());
    const untilMs = deepUntilMs();
    const hasTime = performance.now() < untilMs;
    const copies = hasTime ? [...(await cuts.copies('0b1')), ...(await cuts.copies('0b2'))] : [];
    const tries = spread(copies).map((copy) => () => cuts.recover(copy));
    const summary = await tryAll(tries, { atOnce: 1, untilMs });
    // Only an upgrade without a cut lists its records; until then each of both counts as one.
    if (!hasTime) summary.left = 2;
    reportDeep('power cut', summary);
    assertAllPassed(summary);
  });
});
