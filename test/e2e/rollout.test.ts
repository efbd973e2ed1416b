/**
 * The main job on a real cluster of five nodes and three controllers: a rollout inside its budget, one
 * that fails and is taken back, what is refused before any node is touched, and the way to an older
 * version. Slots are watched in etcd, and what a node did is read from its disk.
 */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { DevCluster, type Message } from './cluster.test.part.js';
import {
  documentOf,
  errorOf,
  historyDocument,
  nodesDocument,
  planDocument,
  statusDocument,
} from './documents.test.part.js';
import { mostAtOnce } from './etcd-events.test.part.js';
import { acceptedCommands, readJournal, stepsOf, treeHash } from './node-files.test.part.js';

const nodes = ['node-1', 'node-2', 'node-3', 'node-4', 'node-5'];
/** What was posted on each node, at 0a1. */
const posted = new Map<string, Message[]>();

let cluster: DevCluster;
before(async () => {
  cluster = await DevCluster.start('--nodes', '5', '--controllers', '3', '--soak', '500ms');
  for (const node of nodes) {
    posted.set(node, [await cluster.post(node, `hello from ${node}`), await cluster.post(node, 'and again')]);
  }
});
after(() => cluster?.stop());

/** The digest of a folder on every node, by node. */
function hashes(...folder: string[]): Record<string, string> {
  return Object.fromEntries(nodes.map((node) => [node, treeHash(join(cluster.nodeRoot(node), ...folder))]));
}

const journalHashes = () => hashes('agent', 'journal');

async function assertVersionEverywhere(version: string): Promise<void> {
  for (const node of nodes) assert.equal(await cluster.serviceVersion(node), version, node);
}

async function assertMessages(change: (message: Message) => object): Promise<void> {
  for (const node of nodes) {
    assert.deepEqual(await cluster.messages(node), posted.get(node)?.map(change), node);
  }
}

async function assertNobodyInMaintenance(): Promise<void> {
  const { nodes: all } = documentOf(nodesDocument, await cluster.plexictl(['nodes', '-o', 'json']));
  for (const { id, inService, health, unknown } of all) {
    assert.deepEqual(
      { inService, health, unknown },
      { inService: true, health: 'healthy', unknown: false },
      id,
    );
    assert.ok(!existsSync(join(cluster.nodeRoot(id), 'run', 'maintenance')), id);
  }
}

async function lastRollout() {
  const { rollout } = documentOf(statusDocument, await cluster.plexictl(['status', '-o', 'json']));
  assert.ok(rollout);
  return rollout;
}

describe('rollout --to 0b1', () => {
  test('two nodes at a time go to 0b1, each with its messages, and as the plan said', async () => {
    const keys = await cluster.follow();
    const wish = ['rollout', '--to', '0b1', '--max-concurrent', '2', '-o', 'json'];
    const { plan } = documentOf(planDocument, await cluster.plexictl([...wish, '--dry-run']));
    assert.deepEqual(plan.problems, []);
    assert.equal(await cluster.key('active'), undefined, 'a dry run starts nothing');

    const rollout = await cluster.plexictl([...wish, '--yes']);
    assert.equal(rollout.code, 0, rollout.stderr);
    const { rollout: ended } = documentOf(statusDocument, rollout);
    assert.equal(ended?.phase, 'succeeded');
    assert.equal(ended.planDigest, plan.digest);
    assert.deepEqual(ended.counts, { done: 5 });
    assert.match(ended.id, /^update_0a1_0b1_\d{8}_\d{6}$/);

    await keys.rolloutEnded();
    const slots = keys.of('slots/');
    assert.equal(mostAtOnce(slots), 2);
    assert.equal(slots.filter(({ kind }) => kind === 'delete').length, 5);
    const taken = slots.filter(({ kind }) => kind === 'put');
    assert.deepEqual(taken.map(({ value }) => value.node).sort(), nodes);
    assert.ok(taken.every(({ key }) => key === 'slots/0' || key === 'slots/1'));

    await assertVersionEverywhere('0b1');
    await assertMessages((message) => ({ ...message, room: 'lobby' }));
    await assertNobodyInMaintenance();
  });

  test('status, nodes and history say so, in the words and shapes of the contract', async () => {
    const { leader, rollout } = documentOf(statusDocument, await cluster.plexictl(['status', '-o', 'json']));
    assert.equal(leader.id in JSON.parse(readFileSync(join(cluster.root, 'processes.json'), 'utf8')), true);
    assert.deepEqual(
      rollout?.nodes.map(({ id, phase, version, error }) => ({ id, phase, version, error })).sort(byId),
      nodes.map((id) => ({ id, phase: 'done', version: '0b1', error: null })),
    );
    const { nodes: listed } = documentOf(nodesDocument, await cluster.plexictl(['nodes', '-o', 'json']));
    assert.deepEqual(
      listed.map(({ id, version, address }) => ({ id, version, address })).sort(byId),
      nodes.map((id) => ({ id, version: '0b1', address: cluster.entry(id).endpoint })),
    );
    const { rollouts } = documentOf(historyDocument, await cluster.plexictl(['history', '-o', 'json']));
    assert.deepEqual(
      rollouts.map(({ id, from, to, phase, startedBy }) => ({ id, from, to, phase, startedBy })),
      [{ id: rollout?.id, from: '0a1', to: '0b1', phase: 'succeeded', startedBy: 'operator' }],
    );
  });

  test('each node took every step once, under one command', () => {
    for (const node of nodes) {
      const journal = readJournal(cluster.nodeRoot(node));
      const [command = '', ...more] = acceptedCommands(journal);
      assert.deepEqual(more, [], node);
      const steps = 'enter_maintenance stop backup migrate apply probe commit leave_maintenance';
      assert.equal(stepsOf(journal, command).join(' '), steps, node);
    }
  });

  test('again: nothing to do, exit 0, and nothing is touched', async () => {
    const [journals, history] = [journalHashes(), await cluster.plexictl(['history', '-o', 'json'])];
    const again = await cluster.plexictl(['rollout', '--to', '0b1', '--yes']);
    assert.equal(again.code, 0, again.stderr);
    assert.match(again.stdout, /every node runs 0b1 already/);
    assert.deepEqual(journalHashes(), journals);
    assert.equal((await cluster.plexictl(['history', '-o', 'json'])).stdout, history.stdout);
  });
});

describe('rollout --to 0b2, which never gets healthy', () => {
  test('exit 1: every node is on 0b1 with its data byte for byte, and a second rollout was refused', async () => {
    const [data, journals] = [hashes('data'), journalHashes()];
    const keys = await cluster.follow();
    const failing = cluster.begin(['rollout', '--to', '0b2', '--yes', '--max-concurrent', '2', '-o', 'json']);
    const { value: active } = await keys.until(({ key }) => key === 'active', 'an active rollout');

    const second = await cluster.plexictl(['rollout', '--to', '0r1', '--yes', '-o', 'json']);
    assert.equal(second.code, 3, second.stderr);
    assert.ok(errorOf(second).message.includes(String(active.rollout)), second.stderr);

    const ended = await failing.ended;
    assert.equal(ended.code, 1, ended.stderr);
    assert.equal(errorOf(ended).code, 'PROBE_FAILED');
    const { rollout } = documentOf(statusDocument, ended);
    assert.equal(rollout?.phase, 'rolled_back');
    assert.equal(rollout.id, active.rollout);

    await keys.rolloutEnded();
    const slots = keys.of('slots/');
    assert.equal(mostAtOnce(slots), 2);
    const touched = new Set(slots.filter(({ kind }) => kind === 'put').map(({ value }) => value.node));
    assert.equal(touched.size, 2, 'after the first failure no further node is touched');
    for (const [node, hash] of Object.entries(journalHashes())) {
      assert.equal(hash === journals[node], !touched.has(node), node);
    }
    assert.deepEqual(hashes('data'), data);
    assert.equal(slots.filter(({ kind }) => kind === 'delete').length, 2, 'no slot is left');
    await assertVersionEverywhere('0b1');
    await assertNobodyInMaintenance();
  });
});

describe('what is refused before any node is touched', () => {
  const refusals: [what: string, words: string[], exit: number, code: string, said: RegExp][] = [
    ['an older version', ['rollout', '--to', '0a1', '--yes'], 3, 'PLAN_REFUSED', /plexictl downgrade/],
    [
      'a downgrade to a newer one',
      ['downgrade', '--to', '0r1', '--yes'],
      3,
      'PLAN_REFUSED',
      /plexictl rollout/,
    ],
    ['a version that nobody built', ['rollout', '--to', '7r7', '--yes'], 3, 'RELEASE_NOT_FOUND', /7r7/],
    ['no confirmation, and no terminal to ask on', ['rollout', '--to', '0r1'], 3, 'NOT_CONFIRMED', /--yes/],
    ['two versions', ['rollout', '--to', '0r1', '--latest', '--yes'], 2, 'USAGE', /one of/],
    ['an option that there is not', ['rollout', '--to', '0r1', '--gently'], 2, 'USAGE', /--gently/],
    ['a pause of nothing', ['pause'], 3, 'NO_ROLLOUT_ACTIVE', /no rollout is active/],
  ];
  for (const [what, words, exit, code, said] of refusals) {
    test(`${what}: exit ${exit}, ${code}`, async () => {
      const refused = await cluster.plexictl([...words, '-o', 'json']);
      assert.equal(refused.code, exit, refused.stderr);
      assert.equal(errorOf(refused).code, code);
      assert.match(errorOf(refused).message, said);
      assert.equal(refused.stdout, '');
    });
  }

  test('none of them started a rollout', async () => {
    const { rollouts } = documentOf(historyDocument, await cluster.plexictl(['history', '-o', 'json']));
    assert.deepEqual(
      rollouts.map(({ to }) => to),
      ['0b2', '0b1'],
    );
  });
});

describe('node maintenance', () => {
  test('takes a slot of the same budget, and gives it back', async () => {
    const keys = await cluster.follow();
    const on = await cluster.plexictl(['node', 'maintenance', 'on', 'node-3', '--reason', 'new disk']);
    assert.equal(on.code, 0, on.stderr);
    const taken = await keys.until(({ key, kind }) => key === 'slots/0' && kind === 'put', 'the slot');
    assert.deepEqual([taken.value.node, taken.value.reason, taken.value.rollout], ['node-3', 'new disk', '']);
    assert.equal(await cluster.messagesStatus('node-3'), 503);
    const { nodes: listed } = documentOf(nodesDocument, await cluster.plexictl(['nodes', '-o', 'json']));
    assert.deepEqual(
      listed.filter(({ inService }) => !inService).map(({ id }) => id),
      ['node-3'],
    );

    const beyond = await cluster.plexictl(['node', 'maintenance', 'on', 'node-2', '-o', 'json']);
    assert.equal(beyond.code, 3, beyond.stderr);
    assert.equal(errorOf(beyond).code, 'BUDGET_SPENT');
    assert.equal(await cluster.messagesStatus('node-2'), 200);

    const off = await cluster.plexictl(['node', 'maintenance', 'off', 'node-3']);
    assert.equal(off.code, 0, off.stderr);
    await keys.until(({ key, kind }) => key === 'slots/0' && kind === 'delete', 'the slot to be free');
    assert.equal(await cluster.messagesStatus('node-3'), 200);
    await assertNobodyInMaintenance();
  });
});

describe('downgrade --to 0a1', () => {
  test('the same job backwards: down-migrations, and messages that 0a1 reads', async () => {
    const late = await cluster.post('node-1', 'written at 0b1');
    const { room, ...plain } = late;
    assert.equal(room, 'lobby');
    posted.set('node-1', [...(posted.get('node-1') ?? []), plain]);

    const downgrade = await cluster.plexictl(['downgrade', '--to', '0a1', '--yes', '--max-concurrent', '3']);
    assert.equal(downgrade.code, 0, downgrade.stderr);
    await assertVersionEverywhere('0a1');
    await assertMessages((message) => message);
    assert.match((await lastRollout()).id, /^update_0b1_0a1_/);
    for (const node of nodes) {
      const text = readFileSync(join(cluster.nodeRoot(node), 'data', 'messages.json'), 'utf8');
      assert.ok(Array.isArray(JSON.parse(text)), 'format 1 is a bare list');
      assert.deepEqual(readdirSync(join(cluster.nodeRoot(node), 'data')), ['messages.json']);
    }
  });
});

function byId(one: { readonly id: string }, other: { readonly id: string }): number {
  return one.id < other.id ? -1 : 1;
}
