/**
 * Controllers and agents are not upgraded at the same moment: one goes to the next version, or back, while the
 * others have not. What a later version says is passed over, what it has stored is kept, and what cannot be
 * understood is never taken for something else. Real gRPC, a real etcd, agents that play a script.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { type EtcdEntry, readKey, readPrefix, transact } from '../../controller/leadership/etcd.js';
import { sha256 } from '../../controller/state/load-world.js';
import { RolloutsServiceService } from '../../gen/plexi/v1/rollouts.js';
import { addNodes, eventually, keyThatExpires, refused } from './asking.test.part.js';
import { TestCluster } from './cluster.test.part.js';
import { speakNewer } from './newer-messages.test.part.js';
import { RealEtcd } from './real-etcd.test.part.js';
import type { ScriptedAgent } from './scripted-agent.test.part.js';

let etcd: RealEtcd;
before(async () => {
  etcd = await RealEtcd.start();
});
after(() => etcd.remove());

/** A cluster of two nodes with one controller, which leads. */
async function twoNodes(name: string) {
  const cluster = await TestCluster.create(name, etcd);
  const replica = await cluster.replica('controller-0');
  const calls = await cluster.calls(replica.address);
  const agents = await Promise.all(['node-1', 'node-2'].map((node) => cluster.agent(node)));
  await addNodes(calls, agents);
  return { cluster, replica, calls, agents };
}

function assertOnce(agents: readonly ScriptedAgent[], id: string): void {
  for (const { node, executed } of agents)
    assert.deepEqual(
      executed.filter((command) => command.startsWith(`${id}.`)),
      ['preflight', 'stage', 'upgrade'].map((step) => `${id}.${node}.${step}.1`),
    );
}

describe('messages of a later version', { concurrency: false }, () => {
  let all: Awaited<ReturnType<typeof twoNodes>>;
  before(async () => {
    all = await twoNodes('messages');
  });
  after(() => all.cluster.stop());

  test('fields and words that are not known are passed over on both sides, and the rollout succeeds', async () => {
    const { calls, agents } = all;
    const release = agents[0]?.hold('upgrade', 'probing');
    const newer = speakNewer({
      status: (status) => ({ ...status, phase: 'thinking_it_over' }),
      progress: (progress) => ({
        ...progress,
        phase: progress.phase === 'probing' ? 'probing_warily' : progress.phase,
      }),
    });
    try {
      const id = await calls.start({ to: '0b1' });
      const phaseOfOne = async (): Promise<string | undefined> =>
        (await calls.status(id)).rollout?.nodes.find((node) => node.id === 'node-1')?.phase;
      await eventually(
        phaseOfOne,
        (phase) => phase === 'applying',
        'the last step that is known is not shown',
      );
      // By the end of both wishes the leader has heard the word behind it.
      for (const wish of [RolloutsServiceService.pause, RolloutsServiceService.resume])
        await calls.ask(wish, { id, reason: 'to be sure' });
      assert.equal(await phaseOfOne(), 'applying');
      release?.();
      const end = await calls.follow(id);
      assert.deepEqual([end.phase, end.counts], ['succeeded', { done: 2 }]);
      assert.ok(newer.written > 100, `only ${newer.written} messages were of a later version`);
      assertOnce(agents, id);
    } finally {
      newer.end();
    }
  });

  test('a result that is not known is no success, and no node that was left untouched: it needs an operator', async () => {
    const { calls, agents, cluster } = all;
    const newer = speakNewer({
      // Only an upgrade brings the new release.
      result: (result) =>
        result.release?.version === '0r1' ? { ...result, outcome: 'done_but_for_one_thing' } : result,
    });
    try {
      const id = await calls.start({ to: '0r1' });
      const end = await calls.follow(id);
      assert.deepEqual([end.phase, end.exitCode], ['failed', 4], end.reason);
      assert.match(end.reason, /node-1.*ended as "done_but_for_one_thing".*upgrade the controllers/);
      const { entries } = await readPrefix(etcd.client(), cluster.keys.slots);
      assert.deepEqual(
        entries.map(({ key }) => key.slice(cluster.keys.slots.length)),
        ['stuck-node-1'],
      );
      assert.ok(!agents[1]?.executed.includes(`${id}.node-2.upgrade.1`), 'node-2 is not touched');
    } finally {
      newer.end();
    }
  });
});

describe('what a later leader has stored', { concurrency: false }, () => {
  let all: Awaited<ReturnType<typeof twoNodes>>;
  before(async () => {
    all = await twoNodes('stored');
  });
  after(() => all.cluster.stop());

  const extra = { by: 'a later version', list: [1, { deep: true }] };

  /** Every value as a later leader would have written it; what is hashed with its hash. */
  function laterEntries(entries: readonly EtcdEntry[], { keys }: TestCluster, id: string): EtcdEntry[] {
    const later = (entry: EtcdEntry, change: object = {}): EtcdEntry => ({
      ...entry,
      value: JSON.stringify({ ...JSON.parse(entry.value), ...change, later: extra }),
    });
    const isPart = ({ key }: EtcdEntry): boolean => key.startsWith(keys.planParts(id));
    const indexOf = ({ value }: EtcdEntry): number => JSON.parse(value).index;
    const parts = entries.filter(isPart).sort((a, b) => indexOf(a) - indexOf(b));
    const laterParts = parts.map((entry) => later(entry));
    const partsDigest = sha256(laterParts.map(({ value }) => sha256(value)).join('\n'));
    const rest = entries.filter(
      (entry) => !isPart(entry) && !entry.key.startsWith(keys.audit) && entry.lease === '0',
    );
    return [
      ...laterParts,
      ...rest.map((entry) => {
        if (entry.key === keys.plan(id)) return later(entry, { partsDigest });
        if (entry.key !== keys.lineage) return later(entry);
        const { terms }: { terms: object[] } = JSON.parse(entry.value);
        return later(entry, { terms: terms.map((term) => ({ ...term, later: extra })) });
      }),
    ];
  }

  test('is read by an earlier one, which goes on, and written back with all that it does not know', async () => {
    const { cluster, replica, agents } = all;
    const { keys } = cluster;
    const client = etcd.client();
    const release = agents[0]?.hold('upgrade');
    const id = await all.calls.start({ to: '0b1' });
    await agents[0]?.begun('upgrade');
    await replica.stop();
    const { entries } = await readPrefix(client, keys.prefix);
    const later = laterEntries(entries, cluster, id);
    const operations = later.map(({ key, value }) => ({ kind: 'put', key, value }) as const);
    assert.ok(await transact(client, [], operations), 'the later leader has written');
    const { revision } = await readKey(client, keys.leader);

    const calls = await cluster.calls((await cluster.replica('controller-1')).address);
    const end = calls.follow(id);
    release?.();
    assert.deepEqual([(await end).phase, (await end).counts], ['succeeded', { done: 2 }]);
    assertOnce(agents, id);

    const now = new Map(
      (await readPrefix(client, keys.prefix)).entries.map((entry) => [entry.key, entry] as const),
    );
    const rewritten = later
      .flatMap(({ key }) => now.get(key) ?? [])
      .filter((it) => it.modRevision > revision);
    const names = rewritten.map(({ key }) => key.slice(keys.prefix.length));
    for (const name of [
      'lineage',
      'nodes/node-1/status',
      `rollouts/${id}/state`,
      `rollouts/${id}/nodes/node-2`,
    ])
      assert.ok(names.includes(name), `${name} was not written again: ${names.join(', ')}`);
    const slots = rewritten.filter(({ key }) => key.startsWith(keys.slots));
    for (const { key, value } of rewritten.filter((entry) => !slots.includes(entry)))
      assert.deepEqual(JSON.parse(value).later, extra, `${key} has lost what it held beside: ${value}`);
    const { terms }: { terms: { later?: object }[] } = JSON.parse(now.get(keys.lineage)?.value ?? '');
    assert.deepEqual(
      terms.map((term) => term.later),
      [...terms.slice(0, -1).map(() => extra), undefined],
      'the terms of before, and the one of the earlier version',
    );
  });

  test('in words that it does not know is left as it is, and nothing is sent; put right, it goes on', async () => {
    const { cluster, agents } = all;
    const { keys } = cluster;
    const client = etcd.client();
    const calls = await cluster.calls((await cluster.replica('controller-2')).address);
    for (const { executed } of agents) executed.length = 0;
    const release = agents[0]?.hold('upgrade');
    const id = await calls.start({ to: '0r1' });
    await agents[0]?.begun('upgrade');
    const { entry } = await readKey(client, keys.rolloutNode(id, 'node-2'));
    assert.ok(entry);
    const value = JSON.stringify({ ...JSON.parse(entry.value), phase: 'rehearsing' });
    // The later leader writes its word, and is gone.
    const strange = await transact(
      client,
      [],
      [
        { kind: 'put', key: entry.key, value },
        { kind: 'delete', key: keys.leader },
      ],
    );
    const known = agents.map((agent) => agent.contacts.length);
    const termsOf = async (): Promise<unknown[]> =>
      JSON.parse((await readKey(client, keys.lineage)).entry?.value ?? '').terms;
    const before = (await termsOf()).length;
    const aSecond = await keyThatExpires(client, 'a-second', 1);
    await eventually(termsOf, ({ length }) => length > before, 'nobody tries to lead');
    await aSecond();
    // Each lead has a record in the audit and a place in the lineage, where there are not many.
    assert.ok(
      (await termsOf()).length <= before + 2,
      'whoever could not read it takes the lead again and again',
    );
    await assert.rejects(calls.status(id), refused('STORE_INVALID', /node-2 has an unknown shape.*phase/));
    const { entries } = await readPrefix(client, keys.rollout(id));
    assert.deepEqual(
      entries.filter(({ modRevision }) => modRevision > (strange ?? 0n)).map(({ key }) => key),
      [],
      'nothing of the rollout was written',
    );
    assert.deepEqual(
      agents.map((agent) => agent.contacts.length),
      known,
      'no node was adopted or sent anything',
    );
    await transact(client, [], [{ kind: 'put', key: entry.key, value: entry.value }]);
    release?.();
    await eventually(
      () => calls.status(id),
      ({ rollout }) => rollout?.phase === 'succeeded',
      'it does not go on',
    );
    assertOnce(agents, id);
  });
});
