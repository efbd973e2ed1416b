/** Every planted bug, those included for which no seed is kept yet; as far as there is time for them. */
import { test } from 'node:test';
import { plantedBugs } from '../simulation/planted-bugs.test.part.js';
import { deepUntilMs, reportDeep } from './share.test.part.js';

process.env.PLEXI_DEEP_MINUTES ??= '10';
/** Milliseconds without which not one of them would be seen, on a machine that is busy. */
const neededMs = 20_000;

if (deepUntilMs() >= neededMs) await import('../simulation/planted.test.js');
else {
  reportDeep('planted bugs', { tried: 0, passed: 0, left: plantedBugs.length });
  test('every planted bug', { skip: `by design: needs a share of ${neededMs / 1_000} s` }, () => undefined);
}
