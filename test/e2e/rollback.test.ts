/**
 * An operator's hand in a rollout, on a real cluster: pause and resume, abort with and without the way
 * back, Ctrl-C, and taking a finished rollout back. After each the versions, the messages and the slots
 * are what the words promise.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { DevCluster, type Message } from './cluster.test.part.js';
import type { CommandRun } from './command-run.test.part.js';
import { documentOf, errorOf, statusDocument } from './documents.test.part.js';
import { type EtcdEvents, mostAtOnce } from './etcd-events.test.part.js';
import { readJournal, treeHash } from './node-files.test.part.js';

const nodes = ['node-1', 'node-2', 'node-3'];
const posted = new Map<string, Message[]>();

let cluster: DevCluster;
before(async () => {
  cluster = await DevCluster.start('--nodes', '3', '--soak', '400ms');
  cluster.makeHoldable('node-2');
  await cluster.up();
  for (const node of nodes) posted.set(node, [await cluster.post(node, `hello from ${node}`)]);
});
after(() => cluster?.stop());

/** Starts a rollout and follows it, until node-1 is done and node-2 enters maintenance, where it is held. */
async function beginAndHold(to: string): Promise<{ rollout: CommandRun; keys: EtcdEvents }> {
  const keys = await cluster.follow();
  cluster.hold('node-2');
  const rollout = cluster.begin(['rollout', '--to', to, '--yes', '-o', 'json']);
  await keys.nodeIn('node-2', 'entering_maintenance');
  return { keys, rollout };
}

/** Runs one word, which must be obeyed. */
async function say(...words: string[]): Promise<void> {
  const { code, stderr } = await cluster.plexictl(words);
  assert.equal(code, 0, `${words.join(' ')}: ${stderr}`);
}

async function versions(): Promise<string[]> {
  return Promise.all(nodes.map((node) => cluster.serviceVersion(node)));
}

async function assertMessages(change: (message: Message) => object): Promise<void> {
  for (const node of nodes)
    assert.deepEqual(await cluster.messages(node), posted.get(node)?.map(change), node);
}

const inLobby = (message: Message) => ({ ...message, room: 'lobby' });

/** Every slot that was taken is free again; nobody answers 503. */
async function assertAllInService(keys: EtcdEvents): Promise<void> {
  const slots = keys.of('slots/');
  assert.equal(mostAtOnce(slots), 1);
  const last = new Map(slots.map(({ key, kind }) => [key, kind]));
  assert.deepEqual([...last.values()], ['delete']);
  for (const node of nodes) assert.equal(await cluster.messagesStatus(node), 200, node);
}

describe('an operator intervenes', () => {
  let first = '';

  test('pause: the node in flight finishes and none starts; resume: it goes on to the end', async () => {
    const { rollout, keys } = await beginAndHold('0b1');
    await say('pause', '--reason', 'disk alarm');
    cluster.release('node-2');
    await keys.nodeIn('node-2', 'done');
    const { rollout: paused } = documentOf(statusDocument, await cluster.plexictl(['status', '-o', 'json']));
    assert.equal(paused?.phase, 'paused');
    assert.deepEqual(paused.counts, { done: 2, ready: 1 });
    assert.match(paused.reason ?? '', /disk alarm/);
    const waiting = paused.nodes.find(({ id }) => id === 'node-3')?.waitingOn[0];
    assert.equal(waiting?.reason, 'the rollout is paused');
    assert.deepEqual(await versions(), ['0b1', '0b1', '0a1']);
    assert.ok(!rollout.isOver, 'a rollout that an operator paused is followed on');

    await say('resume');
    const ended = await rollout.ended;
    assert.equal(ended.code, 0, ended.stderr);
    await keys.rolloutEnded();
    const states = keys.of('rollouts/').filter(({ key }) => key.endsWith('/state'));
    const pausedAt = states.find(({ value }) => value.phase === 'paused')?.revision ?? 0;
    const resumed = states.find(({ value, revision }) => value.phase === 'rolling' && revision > pausedAt);
    const taken = keys.of('slots/').filter(({ kind }) => kind === 'put');
    assert.deepEqual(
      taken.filter(({ revision }) => revision > pausedAt).map(({ value }) => value.node),
      ['node-3'],
    );
    assert.ok(resumed && (taken.at(-1)?.revision ?? 0) >= resumed.revision, 'and only when resumed');
    await assertMessages(inLobby);
    await assertAllInService(keys);
    first = documentOf(statusDocument, ended).rollout?.id ?? '';
  });

  test('rollback: code and data go back together, with what was written since', async () => {
    const late = await cluster.post('node-2', 'written at 0b1');
    const { room: _lobby, ...plain } = late;
    posted.set('node-2', [...(posted.get('node-2') ?? []), plain]);
    const keys = await cluster.follow();
    const rollback = await cluster.plexictl(['rollback', '--yes', '-o', 'json']);
    assert.equal(rollback.code, 0, rollback.stderr);
    const { rollout } = documentOf(statusDocument, rollback);
    assert.equal(rollout?.id, `rollback_${first}`);
    assert.deepEqual([rollout.phase, rollout.from, rollout.to], ['succeeded', '0b1', '0a1']);
    assert.deepEqual(await versions(), ['0a1', '0a1', '0a1']);
    await assertMessages((message) => message);
    await keys.rolloutEnded();
    await assertAllInService(keys);
    for (const node of nodes) {
      const orders = readJournal(cluster.nodeRoot(node)).flatMap((record) =>
        record.kind === 'accepted' && record.commandId.startsWith('rollback_') ? [record.command] : [],
      );
      assert.equal(orders.length, 1, node);
      assert.match(JSON.stringify(orders), /"id":"001-rooms"[^}]*"direction":"down"/);
    }
  });

  test('abort: the node in flight goes back, versions are mixed, exit 5; Ctrl-C detaches from the rest', async () => {
    const { rollout, keys } = await beginAndHold('0b1');
    await say('abort', '--reason', 'enough for today');
    cluster.release('node-2');
    const ended = await rollout.ended;
    assert.equal(ended.code, 5, ended.stderr);
    assert.match(errorOf(ended).message, /aborted.*enough for today/);
    assert.equal(documentOf(statusDocument, ended).rollout?.phase, 'aborted');
    await keys.rolloutEnded();
    assert.deepEqual(await versions(), ['0b1', '0a1', '0a1']);
    await assertAllInService(keys);

    const journal = treeHash(`${cluster.nodeRoot('node-1')}/agent/journal`);
    const rest = await beginAndHold('0b1');
    // What it shows when it is detached from is the last that it was told.
    await rest.rollout.said(/node-2: entering_maintenance/);
    rest.rollout.interrupt();
    const detached = await rest.rollout.ended;
    assert.equal(detached.code, 130, detached.stderr);
    const id = documentOf(statusDocument, detached).rollout?.id ?? '';
    assert.match(detached.stderr, new RegExp(`plexictl watch ${id}`));

    assert.deepEqual(await cluster.key('active'), { rollout: id }, 'the rollout goes on');
    cluster.release('node-2');
    const watched = await cluster.plexictl(['watch', id, '-o', 'json']);
    assert.equal(watched.code, 0, watched.stderr);
    assert.equal(documentOf(statusDocument, watched).rollout?.phase, 'succeeded');
    assert.deepEqual(await versions(), ['0b1', '0b1', '0b1']);
    assert.equal(
      treeHash(`${cluster.nodeRoot('node-1')}/agent/journal`),
      journal,
      'node-1 was there already',
    );
    await assertMessages(inLobby);
  });

  test('abort --rollback: the touched nodes go back too, exit 1', async () => {
    const { rollout, keys } = await beginAndHold('0r1');
    await say('abort', '--rollback');
    cluster.release('node-2');
    const ended = await rollout.ended;
    assert.equal(ended.code, 1, ended.stderr);
    const { rollout: back } = documentOf(statusDocument, ended);
    assert.equal(back?.phase, 'rolled_back');
    assert.deepEqual(back.counts, { rolled_back: 2, ready: 1 });
    assert.deepEqual(await versions(), ['0b1', '0b1', '0b1']);
    await keys.rolloutEnded();
    await assertMessages(inLobby);
    await assertAllInService(keys);
  });
});
