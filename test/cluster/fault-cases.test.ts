/**
 * The looks at a case of faults can fail: a case that passes does not with a budget that lets one node more out.
 * Needs root, for the networks.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { cases, nameOf, tryCase } from './fault-cases.test.part.js';
import { noNetworks } from './networks.test.part.js';
import { PartedCluster } from './parted.test.part.js';

const name = 'who leads is told to stop, while it is backing up';

describe('a case of faults', { skip: noNetworks() ?? false }, () => {
  test('passes, and does not with a budget that lets one node more out', async (t) => {
    const one = cases.find((each) => nameOf(each) === name);
    assert.ok(one);
    const parted = await PartedCluster.start();
    t.after(() => parted.stop());
    assert.deepEqual((await tryCase(one, parted)).wrong, []);
    const { wrong } = await tryCase(one, parted, 2);
    assert.match(wrong.join('\n'), /at revision \d+ there are \S+\/slots\/0 and \S+\/slots\/1/);
  });
});
