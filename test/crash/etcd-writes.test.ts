/**
 * The leader of a rollout dies at one of its writes to etcd: a sample of the writes. Each of them is tried
 * by test/deep/etcd-writes.test.ts.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { readPrefix, transact } from '../../controller/leadership/etcd.js';
import type { ClusterKeys } from '../../controller/state/keys.js';
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

  test('a command that was executed twice, or never, two slots at once, and a cut that never came do not pass', async () => {
    const spoil = async ([agent, other]: readonly ScriptedAgent[], { slots }: ClusterKeys): Promise<void> => {
      agent?.executed.push(...agent.executed.slice(-1));
      other?.executed.shift();
      const value = JSON.stringify({ node: 'node-1' });
      await transact(
        etcd.client(),
        [],
        ['8', '9'].map((index) => ({ kind: 'put', key: `${slots}${index}`, value })),
      );
    };
    const spoiled = await writes.try('succeeds', { nth: 3, effect: 'lost' }, { spoil });
    const wrong = spoiled.wrong.join('\n');
    assert.match(wrong, /^node-1 executed .*\.stage\.1, (\S+\.upgrade\.1), \1$/m);
    assert.match(wrong, /^node-2 executed \S+\.stage\.1, \S+\.upgrade\.1$/m);
    assert.match(wrong, /there are 2 slots/);
    const never = await writes.try('succeeds', { nth: 9_999, effect: 'lost' }, { mayBeMissing: true });
    const { failures } = await tryAll([async () => never], { atOnce: 1 });
    assert.match(failures.join(), /invalid, the fault did not happen/);
  });

  test('a node that is upgraded once more on the way back, and an outcome that is told twice, do not pass', async () => {
    const spoil = async ([agent]: readonly ScriptedAgent[], keys: ClusterKeys): Promise<void> => {
      const [again = ''] = agent?.executed.filter((id) => id.endsWith('.upgrade.1')) ?? [];
      agent?.executed.push(again.replace(/1$/, '2'));
      const { entries } = await readPrefix(etcd.client(), keys.audit);
      const outcome = entries.findLast(({ value }) => JSON.parse(value).what === 'outcome');
      assert.ok(outcome);
      const key = keys.auditRecord(entries.length + 1);
      await transact(etcd.client(), [], [{ kind: 'put', key, value: outcome.value }]);
    };
    const spoiled = await writes.try('goes back', { nth: 3, effect: 'lost' }, { spoil });
    const wrong = spoiled.wrong.join('\n');
    assert.match(wrong, /^node-1 executed .*\.upgrade\.1, \S+\.revert\.1, \S+\.upgrade\.2$/m);
    assert.match(wrong, /the audit: .* cannot be trusted/);
    assert.match(wrong, /the audit has as outcomes /);
  });
});
