/**
 * The leader of a rollout dies at one of its writes to etcd: a sample of the writes. Each of them is tried
 * by test/deep/etcd-writes.test.ts.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { transact } from '../../controller/leadership/etcd.js';
import { RealEtcd } from '../cluster/real-etcd.test.part.js';
import type { ScriptedAgent } from '../cluster/scripted-agent.test.part.js';
import { EtcdWrites } from './etcd-writes.test.part.js';
import { assertAllPassed, tryAll } from './spread.test.part.js';

describe('a leader that dies at a write to etcd', () => {
  let etcd: RealEtcd;
  let writes: EtcdWrites;
  before(async () => {
    etcd = await RealEtcd.start();
    writes = new EtcdWrites(etcd);
  });
  after(() => etcd.remove());

  test('is followed by one that ends the rollout truthfully, and nothing is done twice', async () => {
    const tries = [
      () => writes.try('succeeds', { nth: 1, effect: 'kept' }),
      () => writes.try('succeeds', { nth: 5, effect: 'lost' }),
      () => writes.try('succeeds', { nth: 7, effect: 'kept' }),
      () => writes.try('goes back', { nth: 8, effect: 'kept' }),
    ];
    assertAllPassed(await tryAll(tries, { atOnce: 4 }));
  });

  test('a command that was executed twice, two slots at once, and a cut that never came do not pass', async () => {
    const spoil = async ([agent]: readonly ScriptedAgent[], slots: string): Promise<void> => {
      agent?.executed.push(...agent.executed.slice(-1));
      const value = JSON.stringify({ node: 'node-1' });
      await transact(
        etcd.client(),
        [],
        ['8', '9'].map((index) => ({ kind: 'put', key: `${slots}${index}`, value })),
      );
    };
    const spoiled = await writes.try('succeeds', { nth: 3, effect: 'lost' }, { spoil });
    assert.match(spoiled.wrong.join('\n'), /executed twice/);
    assert.match(spoiled.wrong.join('\n'), /there are 2 slots/);
    const never = await writes.try('succeeds', { nth: 9_999, effect: 'lost' }, { attempts: 1 });
    const { failures } = await tryAll([async () => never], { atOnce: 1 });
    assert.match(failures.join(), /invalid, the fault did not happen/);
  });
});
