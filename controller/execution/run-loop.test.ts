/**
 * The leader's transactions on a real etcd: answers are lost, others write in between, the lead ends. What
 * was decided happens once, or not at all.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  agents,
  cluster,
  direct,
  endings,
  lead,
  mirror,
  mirrorProxy,
  outcome,
  phaseOf,
  reaches,
  start,
  started,
  takesSlot,
  wish,
} from '../../test/cluster/term.test.part.js';
import { type EtcdOperation, readKey, readPrefix, transact } from '../leadership/etcd.js';
import { loadRollout } from '../state/load-world.js';

describe('an answer that is lost after the commit', () => {
  test('of the transaction that puts a start in force: there is one rollout, and the lead goes on', async () => {
    const [agent] = await agents(1);
    let lost = 0;
    const term = await lead({ isLost: (keys) => keys.includes(cluster.keys.active) && lost++ === 0 });
    const id = await started(await start());
    await reaches(id, 'succeeded');
    assert.ok(lost > 0 && !term.isOver);
    assert.deepEqual(
      agent?.executed,
      ['preflight', 'stage', 'upgrade'].map((step) => `${id}.node-1.${step}.1`),
    );
    const { entries } = await readPrefix(direct, cluster.keys.rollouts);
    assert.deepEqual([...new Set(entries.map(({ key }) => key.split('/')[5]))], [id]);
  });

  test('of the transaction that takes a slot: the node is upgraded once', async () => {
    const [first, second] = await agents(2);
    let lost = 0;
    await lead({ isLost: (keys) => takesSlot(keys) && lost++ === 0 });
    const id = await started(await start());
    await reaches(id, 'succeeded');
    assert.ok(lost > 0);
    for (const agent of [first, second])
      assert.deepEqual(
        agent?.executed.filter((command) => command.includes('upgrade')),
        [`${id}.${agent?.node}.upgrade.1`],
      );
  });

  test('of what was said on a node itself: it stands in the audit record once, also under the next leader', async () => {
    const [agent] = await agents(1);
    assert.ok(agent);
    const isWord = (key: string): boolean => key.startsWith(cluster.keys.nodeWords('node-1'));
    const stored = () => mirror.under(cluster.keys.nodeWords('node-1')).map(({ value }) => JSON.parse(value));
    const told = async () =>
      (await readPrefix(direct, cluster.keys.audit)).entries
        .map(({ value }) => JSON.parse(value))
        .filter(({ what }) => what === 'by_hand');
    const isStored = (id: string) =>
      mirror.waitFor(() => stored().some(({ commandId }) => commandId === id), 10_000);
    const maintain = async (on: boolean) =>
      assert.equal((await outcome(await wish({ kind: 'maintenance', node: 'node-1', on }))).error, null);
    agent.saysByHand('by-hand-rollback-1');
    agent.saysByHand('by-hand-restore-2', false);
    let lost = 0;
    const first = await lead({ isLost: (keys) => keys.some(isWord) && lost++ === 0 });
    await maintain(true);
    assert.ok(await isStored('by-hand-rollback-1'));
    await first.lead.resign('another one leads');
    await first.over;
    agent.saysByHand('by-hand-restore-2');
    await lead();
    await maintain(false);
    assert.ok(await isStored('by-hand-restore-2'));
    assert.equal(lost, 1);
    const said = { who: 'ada', node: 'node-1', reason: 'no controller is left', outcome: 'done' };
    assert.deepEqual(
      (await told()).map(({ who, node, commandId, reason, outcome: end }) => ({
        ...{ who, node, commandId, reason, outcome: end },
      })),
      ['by-hand-rollback-1', 'by-hand-restore-2'].map((commandId) => ({ ...said, commandId })),
    );
  });

  test('of every second transaction: the rollout ends as if nothing had happened', async () => {
    const both = await agents(2);
    let number = 0;
    const stopping = new AbortController();
    // A leader may give the lead up over it; then, as in a replica, the next term goes on.
    const leading = (async () => {
      while (!stopping.signal.aborted) await (await lead({ isLost: () => number++ % 2 === 0 })).over;
    })();
    const id = await started(await start());
    await reaches(id, 'succeeded');
    assert.ok(number > 10);
    stopping.abort();
    for (const end of endings.splice(0)) await end();
    await leading;
    for (const { node, executed } of both)
      assert.deepEqual(
        executed,
        ['preflight', 'stage', 'upgrade'].map((step) => `${id}.${node}.${step}.1`),
      );
    assert.deepEqual((await readPrefix(direct, cluster.keys.slots)).entries, []);
    assert.equal((await readKey(direct, cluster.keys.active)).entry, undefined);
  });
});

describe('what others write in between', () => {
  test('a pause between the count and the slot stops the slot', async () => {
    const [agent] = await agents(1);
    let paused: string | undefined;
    const term = await lead({
      async before(keys) {
        if (!takesSlot(keys) || paused !== undefined) return;
        const id = JSON.parse((await readKey(direct, cluster.keys.active)).entry?.value ?? '').rollout;
        paused = await wish({ kind: 'pause', reason: 'wait' }, id);
      },
    });
    const id = await started(await start());
    await reaches(id, 'paused');
    assert.ok(paused !== undefined);
    assert.equal((await outcome(paused)).error, null, 'the pause is acknowledged');
    assert.deepEqual((await readPrefix(direct, cluster.keys.slots)).entries, [], 'and no slot is taken');
    assert.ok(!agent?.executed.some((command) => command.includes('upgrade')));
    assert.equal((await outcome(await wish({ kind: 'resume' }, id))).error, null);
    await reaches(id, 'succeeded');
    assert.ok(!term.isOver);
  });

  test('so does any other wish: maintenance by hand comes first, and the rollout waits for its end', async () => {
    const [first, second] = await agents(2);
    assert.ok(first && second);
    let wished: string | undefined;
    await lead({
      async before(keys) {
        if (takesSlot(keys) && wished === undefined)
          wished = await wish({ kind: 'maintenance', node: 'node-2', on: true });
      },
    });
    const id = await started(await start('one', '0b1', ['node-1']));
    const holder = (): string => mirror.get(cluster.keys.slot('0'))?.value ?? '';
    assert.ok(await mirror.waitFor(() => holder() !== '', 10_000));
    assert.match(holder(), /"node":"node-2"/);
    assert.equal((await outcome(wished ?? '')).error, null);
    await second.begun('maintenance');
    assert.ok(!first.executed.some((command) => command.includes('upgrade')));
    assert.equal((await outcome(await wish({ kind: 'maintenance', node: 'node-2', on: false }))).error, null);
    await reaches(id, 'succeeded');
  });

  test('a change of labels between the count and the slot stops what they do not allow any more', async () => {
    const both = await agents(2);
    const label = (node: string, labels: Record<string, string>): EtcdOperation[] => {
      const address = both.find((agent) => agent.node === node)?.address;
      const value = JSON.stringify({ address, labels });
      return [
        { kind: 'put', key: cluster.keys.nodeSpec(node), value },
        { kind: 'put', key: cluster.keys.labels, value: '{}' },
      ];
    };
    await transact(
      direct,
      [],
      [...label('node-1', { role: 'db' }), ...label('node-2', { role: 'db' }).slice(0, 1)],
    );
    let changed = 0;
    const groups = [{ name: 'db', labels: { role: 'db' }, min_available: 1 }];
    await lead(
      {
        async before(keys) {
          if (takesSlot(keys) && changed++ === 0) await transact(direct, [], label('node-2', {}));
        },
      },
      undefined,
      { rollout: { soak_ms: 0, groups } },
    );
    const id = await started(await start('one', '0b1', ['node-1']));
    const record = (): string => mirror.get(cluster.keys.rolloutNode(id, 'node-1'))?.value ?? '';
    assert.ok(
      await mirror.waitFor(() => record().includes('group db needs 1 of its 1 nodes'), 10_000),
      record(),
    );
    assert.deepEqual((await readPrefix(direct, cluster.keys.slots)).entries, []);
    await transact(direct, [], label('node-2', { role: 'db' }));
    await reaches(id, 'succeeded');
  });

  test('a slot that somebody else took in between counts: the leader loads, and waits for it', async () => {
    const [agent] = await agents(1);
    let taken = 0;
    const slot = {
      node: 'node-9',
      reason: 'by hand',
      rollout: 'x',
      term: '1',
      since: new Date().toISOString(),
    };
    const term = await lead({
      async before(keys) {
        if (!takesSlot(keys) || taken++ > 0) return;
        await transact(
          direct,
          [],
          [{ kind: 'put', key: cluster.keys.slot('0'), value: JSON.stringify(slot) }],
        );
      },
    });
    const id = await started(await start());
    await mirror.waitFor(() => taken > 0, 10_000);
    const abort = await outcome(await wish({ kind: 'abort', rollback: false }, id));
    assert.equal(abort.error, null);
    await reaches(id, 'aborted');
    assert.equal(taken, 1, 'it tried once, and then it knew');
    assert.ok(!agent?.executed.some((command) => command.includes('upgrade')));
    assert.ok(!term.isOver, 'losing a race is not losing the lead');
  });

  test('a node that says more of itself than etcd takes costs nobody the lead', async () => {
    const [agent] = await agents(1);
    assert.ok(agent);
    agent.health = 'unhealthy';
    agent.healthReason = 'x'.repeat(500_000);
    const term = await lead();
    const status = (): string => mirror.get(cluster.keys.nodeStatus('node-1'))?.value ?? '';
    assert.ok(await mirror.waitFor(() => status().includes('"healthReason":"xxx'), 10_000), status());
    assert.ok(status().length < 2_000);
    const { error } = await outcome(await start());
    assert.match(error?.message.slice(0, 60) ?? '', /^node-1 is not healthy before the rollout/);
    assert.ok(!term.isOver);
  });

  test('a removal of a node whose status changes in the same moment', async () => {
    const [agent] = await agents(1);
    assert.ok(agent);
    let removal: Promise<string> | undefined;
    const term = await lead({
      async before(keys) {
        if (removal !== undefined || !keys.some((key) => key.startsWith(cluster.keys.outcomes))) return;
        // While the leader is busy both arrive, so that it meets them together.
        agent.health = 'unhealthy';
        agent.tell();
        removal = wish({ kind: 'remove', node: 'node-1' });
        await mirror.waitFor(() => mirror.under(cluster.keys.intents).length > 1, 5_000);
        await mirror.waitFor(() => false, 100);
      },
    });
    const status = () => mirror.get(cluster.keys.nodeStatus('node-1'));
    await mirror.waitFor(() => status()?.value.includes('0.1.0') ?? false, 5_000);
    assert.equal((await outcome(await start('none', '9c9'))).error?.code, 'RELEASE_NOT_FOUND');
    assert.ok(removal);
    assert.equal((await outcome(await removal)).error, null);
    assert.equal(await mirror.waitFor(() => status() !== undefined, 500), false, 'it does not come back');
    assert.ok(!term.isOver);
  });
});

test('a node that is let back before the leader hears that its removal is stored is adopted', async () => {
  const [agent] = await agents(1);
  assert.ok(agent);
  const { keys } = cluster;
  const spec = keys.nodeSpec('node-1');
  let isLetBack = false;
  await lead({
    async after(written) {
      if (isLetBack || !written.includes(spec)) return;
      isLetBack = true;
      const value = JSON.stringify({ address: agent.address, labels: {} });
      await transact(
        direct,
        [],
        [
          { kind: 'put', key: spec, value },
          { kind: 'put', key: keys.labels, value: '{}' },
        ],
      );
      await mirror.waitFor(() => mirror.get(spec)?.value === value, 5_000);
    },
  });
  const before = agent.adoptions.length;
  assert.equal((await outcome(await wish({ kind: 'remove', node: 'node-1' }))).error, null);
  const status = (): string => mirror.get(keys.nodeStatus('node-1'))?.value ?? '';
  assert.ok(await mirror.waitFor(() => status().includes('"joined":false'), 10_000), status());
  assert.ok(isLetBack && agent.adoptions.length > before);
});

test('a rollout that ended while the mirror was behind is kept as it was', async () => {
  const [agent] = await agents(1);
  agent?.fail('preflight', 'PREFLIGHT_FAILED', 'no room');
  const { keys } = cluster;
  await lead({
    async before(written) {
      if (!written.includes(keys.active)) return;
      // The mirror knows the parts of the plan by now, and nothing of what follows.
      const hasParts = () => mirror.under(keys.rollouts).length > 0;
      await mirror.waitFor(hasParts, 5_000);
      mirrorProxy.set('down', 'hold');
    },
  });
  await start('one');
  const state = async (): Promise<string> => {
    const { entries } = await readPrefix(direct, keys.rollouts);
    return entries.find(({ key }) => key.endsWith('/state'))?.value ?? '';
  };
  while (!(await state()).includes('"phase":"aborted"')) await new Promise(setImmediate);
  // A wish of its own comes after whatever the leader does at the end of a rollout.
  mirrorProxy.set('down', 'pass');
  await outcome(await wish({ kind: 'remove', node: 'node-9' }));
  const { entries } = await readPrefix(direct, keys.rollouts);
  const id = entries[0]?.key.split('/')[5] ?? '';
  assert.equal(loadRollout(keys, id, entries)?.phase, 'aborted');
});

describe('the end of a lead', () => {
  test('a write of a term that is over ends it at once, and changes nothing', async () => {
    await agents(1);
    const term = await lead();
    const { entry } = await readKey(direct, cluster.keys.leader);
    const usurper = { id: 'controller-9', address: '127.0.0.1:9', epoch: 1, since: new Date().toISOString() };
    const { leader } = cluster.keys;
    await transact(direct, [], [{ kind: 'delete', key: leader }]);
    await transact(direct, [], [{ kind: 'put', key: leader, value: JSON.stringify(usurper) }]);
    assert.ok(entry);
    await start();
    // The watch may tell first that the key is gone.
    const why = /^(term \d+ is over; another controller leads|the key of term \d+ is gone from etcd)$/;
    assert.match(await term.over, why);
    assert.equal((await readPrefix(direct, cluster.keys.intents)).entries.length, 1, 'the wish still stands');
    assert.deepEqual((await readPrefix(direct, cluster.keys.rollouts)).entries, []);
    await transact(direct, [], [{ kind: 'delete', key: leader }]);
  });

  test('after it nothing is sent any more', async () => {
    const [agent] = await agents(1);
    const release = agent?.hold('stage');
    const term = await lead();
    const id = await started(await start());
    await agent?.begun('stage');
    await term.lead.resign('enough');
    assert.equal(await term.over, 'enough');
    const { length } = term.sent;
    release?.();
    assert.equal(await mirror.waitFor(() => phaseOf(id) !== 'staging', 400), false);
    assert.equal(term.sent.length, length);
    assert.ok(!agent?.executed.some((command) => command.includes('upgrade')));
  });
});

test('what a node tells of itself in quick succession is gathered into few writes', async () => {
  const [agent] = await agents(1);
  assert.ok(agent);
  const atMs: number[] = [];
  await lead({
    before: async (keys) => {
      if (keys.includes(cluster.keys.nodeStatus('node-1'))) atMs.push(performance.now());
    },
  });
  for (let told = 0; atMs.length < 20; told++) {
    assert.ok(told < 1_000_000, 'the leader does not write what the node tells');
    agent.health = told % 2 === 0 ? 'unhealthy' : 'healthy';
    agent.tell();
    await new Promise(setImmediate);
  }
  const gapsMs = atMs.slice(1).map((time, index) => time - (atMs[index] ?? 0));
  const ticks = ((atMs.at(-1) ?? 0) - (atMs[0] ?? 0)) / 200;
  // A tick takes along what waits, whenever it comes.
  const short = gapsMs.filter((ms) => ms < 15).length;
  assert.ok(short <= ticks + 2, `${short} of ${gapsMs.map(Math.round)} ms are short`);
});
