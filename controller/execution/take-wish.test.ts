/**
 * Wishes as a leader takes them, on a real etcd: in order, each once, against what holds when they are
 * stored; one that cannot be stored is refused, and costs nobody the lead.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  agents,
  cluster,
  direct,
  etcd,
  lead,
  mirror,
  nodeOperations,
  outcome,
  proxy,
  reaches,
  start,
  started,
  takesSlot,
  wish,
} from '../../test/cluster/term.test.part.js';
import { type EtcdOperation, readKey, readPrefix, transact } from '../leadership/etcd.js';

describe('wishes', () => {
  test('that waited for a leader are taken in order, each once', async () => {
    await agents(1);
    const first = await start('one');
    const second = await start('two');
    const third = await start('one');
    const term = await lead();
    const id = await started(first);
    assert.equal((await outcome(second)).error?.code, 'ROLLOUT_ACTIVE');
    assert.equal(await started(third), id);
    await reaches(id, 'succeeded');
    assert.ok(!term.isOver);
    assert.deepEqual((await readPrefix(direct, cluster.keys.intents)).entries, []);
  });

  test('that come while a new leader loads are not missed', async () => {
    await agents(1);
    const client = etcd.client(proxy.port);
    await readKey(client, 'warm');
    let stored: Promise<string> | undefined;
    proxy.watchDown(() => {
      if (stored !== undefined) return;
      // The first answer to the leader is on its way: what it reads next comes after the wish.
      proxy.set('up', 'hold');
      stored = start().then(async (key) => {
        await mirror.waitFor(() => mirror.under(cluster.keys.intents).length > 0, 5_000);
        proxy.set('up', 'pass');
        return key;
      });
    });
    await lead({}, client);
    await mirror.waitFor(() => stored !== undefined && mirror.under(cluster.keys.intents).length > 0, 5_000);
    assert.ok(stored);
    await reaches(await started(await stored), 'succeeded');
  });

  test('a start is in force as a whole, whatever number of nodes it has', async () => {
    const nodes = Array.from({ length: 52 }, (_, index) => `node-${index}`);
    for (const node of nodes) await transact(direct, [], nodeOperations(node, ''));
    const term = await lead();
    for (const size of [46, 47, 48, 49, 50, 51]) {
      const id = await started(await start(`of ${size}`, '0b1', nodes.slice(0, size)));
      assert.equal((await outcome(await wish({ kind: 'abort', rollback: false }, id))).error, null);
      await reaches(id, 'aborted');
    }
    assert.ok(!term.isOver);
  });

  test('are looked at anew when labels change before they are stored', async () => {
    const both = await agents(2);
    const label = (node: string, labels: Record<string, string>): EtcdOperation => {
      const address = both.find((agent) => agent.node === node)?.address;
      return { kind: 'put', key: cluster.keys.nodeSpec(node), value: JSON.stringify({ address, labels }) };
    };
    await transact(direct, [], [label('node-1', { role: 'db' }), label('node-2', { role: 'db' })]);
    let tries = 0;
    const groups = [{ name: 'db', labels: { role: 'db' }, min_available: 1 }];
    const changes = { rollout: { soak_ms: 0, groups } };
    const term = await lead(
      {
        async before(keys) {
          if (!takesSlot(keys) || tries++ > 0) return;
          await transact(
            direct,
            [],
            [label('node-2', {}), { kind: 'put', key: cluster.keys.labels, value: '{}' }],
          );
        },
      },
      undefined,
      changes,
    );
    await bothServe();
    const { error } = await outcome(await wish({ kind: 'maintenance', node: 'node-1', on: true }));
    assert.ok(tries > 0, 'it was allowed at first');
    assert.match(error?.message ?? '', /group db needs 1 of its 1 nodes/);
    assert.deepEqual((await readPrefix(direct, cluster.keys.slots)).entries, []);
    assert.ok(!term.isOver);
  });

  test('that somebody takes away while they are taken come to nothing, and the lead goes on', async () => {
    await agents(2);
    let taken: string | undefined;
    const term = await lead({
      async before(keys) {
        const intent = keys.find((key) => key.startsWith(cluster.keys.intents));
        if (intent === undefined || taken !== undefined) return;
        taken = intent;
        await transact(direct, [], [{ kind: 'delete', key: intent }]);
      },
    });
    const gone = await wish({ kind: 'maintenance', node: 'node-1', on: true });
    assert.equal((await outcome(await wish({ kind: 'hold', node: 'node-2', on: true }))).error, null);
    assert.ok(taken);
    assert.equal((await readKey(direct, gone)).entry, undefined);
    assert.deepEqual((await readPrefix(direct, cluster.keys.slots)).entries, []);
    assert.ok(!term.isOver);
  });

  test('whose refusal names thousands of nodes are refused in a sentence that can be stored', async () => {
    await agents(1);
    const term = await lead();
    const unknown = Array.from({ length: 2_000 }, (_, index) => `nobody-${index}`);
    const { error } = await outcome(await start('many', '0b1', unknown));
    assert.equal(error?.code, 'PLAN_REFUSED');
    assert.match(error.message, /nobody-0/);
    assert.ok(error.message.length < 5_000);
    assert.ok(!term.isOver);
  });

  test('that would need a value which etcd does not take are refused, and the lead goes on', async () => {
    await agents(1);
    const term = await lead();
    await bothServe('node-1');
    // Not through a replica, which would have refused it: twice in a slot it is longer than a value may be.
    const reason = 'x'.repeat(40_000);
    const { error } = await outcome(await wish({ kind: 'maintenance', node: 'node-1', on: true, reason }));
    assert.equal(error?.code, 'LIMIT_EXCEEDED');
    assert.deepEqual((await readPrefix(direct, cluster.keys.slots)).entries, []);
    assert.deepEqual((await readPrefix(direct, cluster.keys.intents)).entries, []);
    assert.ok(!term.isOver);
  });
});

/** Nodes are taken out only when they are known to be well. */
async function bothServe(...nodes: string[]): Promise<void> {
  const wanted = nodes.length === 0 ? ['node-1', 'node-2'] : nodes;
  const isSeen = (node: string): boolean =>
    mirror.get(cluster.keys.nodeStatus(node))?.value.includes('"inMaintenance":false') ?? false;
  await mirror.waitFor(() => wanted.every(isSeen), 5_000);
}
