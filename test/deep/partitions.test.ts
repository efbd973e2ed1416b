/**
 * Whatever can be cut, killed or stopped in a cluster of three members of etcd, two controllers and three agents,
 * at each moment of a rollout. In a fixed order: as many as the time allows, the most different first.
 * `PLEXI_CASE=NAME` tries only the cases whose name has the words.
 */
import { env } from 'node:process';
import { after, describe, test } from 'node:test';
import { cases, nameOf, tryCase } from '../cluster/fault-cases.test.part.js';
import { noNetworks } from '../cluster/networks.test.part.js';
import { PartedCluster } from '../cluster/parted.test.part.js';
import { assertAllPassed, tryAll } from '../crash/spread.test.part.js';
import { deepUntilMs, reportDeep } from './share.test.part.js';

/** At once, so that a run that hangs shows where. */
const say = (text: string): boolean => process.stdout.write(`# ${text}\n`);

describe('a rollout outlives whatever happens to the cluster', { skip: noNetworks() ?? false }, () => {
  let parted: PartedCluster | undefined;
  after(() => parted?.stop());

  test('it ends as it should, with every command executed once', async () => {
    const wanted = env.PLEXI_CASE ?? '';
    const tries = cases
      .filter((one) => nameOf(one).includes(wanted))
      .map((one) => async () => {
        parted ??= await PartedCluster.start();
        const beganMs = performance.now();
        try {
          const tried = await tryCase(one, parted);
          say(`${Math.round(performance.now() - beganMs)} ms: ${tried.what}`);
          if (tried.wrong.length > 0) say(tried.wrong.join('; '));
          return tried;
        } catch (thrown) {
          // What it left is not what the next case begins with.
          await parted.stop();
          parted = undefined;
          say(`${nameOf(one)}: ${thrown instanceof Error ? thrown.stack : thrown}`);
          throw thrown;
        }
      });
    const summary = await tryAll(tries, { atOnce: 1, untilMs: deepUntilMs() });
    reportDeep('faults at moments of a rollout', summary);
    assertAllPassed(summary);
  });
});
