/**
 * kill -9 of the leading controller in the middle of a rollout: the next one finishes it, whoever
 * followed it goes on following, and no node does a step twice (guarantees 2 and 9). Once while a node
 * works, and once while one soaks and nothing but the leader would do the next thing.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { DevCluster } from './cluster.test.part.js';
import { documentOf, nodesDocument, statusDocument } from './documents.test.part.js';
import { mostAtOnce } from './etcd-events.test.part.js';
import { acceptedCommands, readJournal, stepsOf } from './node-files.test.part.js';

const isDeep = process.env.PLEXI_DEEP_MINUTES !== undefined;
const nodes = ['node-1', 'node-2', 'node-3'];
const controllers = ['controller-0', 'controller-1', 'controller-2'];
const stepsOfAnUpgrade = 'enter_maintenance stop backup migrate apply probe commit leave_maintenance';

let cluster: DevCluster;
before(async () => {
  cluster = await DevCluster.start('--nodes', '3', '--controllers', '3', '--soak', '500ms');
  cluster.makeHoldable('node-2');
  await cluster.up();
  for (const node of nodes) await cluster.post(node, 'still here');
});
after(() => cluster?.stop());

async function leader() {
  return documentOf(statusDocument, await cluster.plexictl(['status', '-o', 'json'])).leader;
}

describe('the leading controller is killed', () => {
  const cases: [to: string, phase: string][] = [
    ['0b1', 'entering_maintenance'],
    ['0r1', 'soaking'],
  ];
  // The second one is in the deep run; the simulation kills leaders at any moment.
  for (const [to, phase] of isDeep ? cases : cases.slice(0, 1)) {
    test(`while node-2 is ${phase}: another one leads, and the rollout to ${to} succeeds`, async () => {
      const killed = await leader();
      const keys = await cluster.follow();
      // The follower hangs on the controller that will be killed.
      const others = controllers.filter((name) => name !== killed.id);
      const addresses = [killed.id, ...others].map((name) => cluster.entry(name).endpoint).join(',');
      const words = ['rollout', '--to', to, '--yes', '--controller', addresses, '-o', 'json'];
      // Of the phases of a node that hurries on, not each is stored: it is held in the one that is meant.
      const isHeld = phase !== 'soaking';
      if (isHeld) cluster.hold('node-2');
      const rollout = cluster.begin(words, { deadlineMs: 90_000 });

      const { revision } = await keys.nodeIn('node-2', phase);
      cluster.kill(killed.id);
      if (isHeld) cluster.release('node-2');
      const ended = await rollout.ended;
      assert.equal(ended.code, 0, ended.stderr);
      assert.match(ended.stderr, new RegExp(`lost the controller at ${cluster.entry(killed.id).endpoint}`));
      const document = documentOf(statusDocument, ended);
      assert.equal(document.rollout?.phase, 'succeeded');
      assert.deepEqual(document.rollout.counts, { done: 3 });

      const last = await keys.rolloutEnded();
      assert.ok(last.revision > revision);
      const next = await leader();
      assert.ok(others.includes(next.id), `${next.id} leads`);
      assert.ok(next.term > killed.term, 'under a higher term');
      assertOnce(document.rollout.id);
      const slots = keys.of('slots/');
      assert.equal(mostAtOnce(slots), 1);
      assert.equal(slots.filter(({ kind }) => kind === 'delete').length, 3);
      await assertServing(to);

      await cluster.up();
      process.kill(cluster.entry(killed.id).pid, 0);
      const asked = ['nodes', '--controller', cluster.entry(killed.id).endpoint, '-o', 'json'];
      const answer = documentOf(nodesDocument, await cluster.plexictl(asked));
      assert.deepEqual(
        answer.nodes.map(({ version }) => version),
        [to, to, to],
      );
      assert.equal((await leader()).id, next.id, 'the one that came back does not take the lead');
    });
  }
});

/** One upgrade a node, accepted once, each of its steps begun once, and ended once. */
function assertOnce(rollout: string): void {
  for (const node of nodes) {
    const journal = readJournal(cluster.nodeRoot(node)).filter(({ commandId }) =>
      commandId.startsWith(rollout),
    );
    const [command = '', ...more] = acceptedCommands(journal);
    assert.deepEqual(more, [], `${node} was told once`);
    assert.ok(
      journal.every(({ commandId }) => commandId === command),
      node,
    );
    assert.equal(stepsOf(journal, command).join(' '), stepsOfAnUpgrade, node);
    assert.equal(journal.filter(({ kind }) => kind === 'finished').length, 1, node);
  }
}

async function assertServing(version: string): Promise<void> {
  for (const node of nodes) {
    assert.equal(await cluster.serviceVersion(node), version, node);
    assert.deepEqual(
      (await cluster.messages(node)).map(({ text }) => text),
      ['still here'],
      node,
    );
  }
}
