/**
 * When a node fails, on a real cluster of five: it goes back by itself, the others that were touched
 * follow, and what was never touched stays so; a rollback that fails leaves one node to an operator; and
 * with rollback off the rollout waits for his word. Each end has the exit code of the contract.
 */
import assert from 'node:assert/strict';
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { DevCluster, type Message } from './cluster.test.part.js';
import { documentOf, errorOf, nodesDocument, planDocument, statusDocument } from './documents.test.part.js';
import { type EtcdEvents, mostAtOnce } from './etcd-events.test.part.js';
import { readJournal, treeHash } from './node-files.test.part.js';

/** The five nodes, in the order in which a rollout takes them. */
let nodes: string[] = [];
/** The second of them, which a test can hold in its maintenance hook; the third, which fails. */
let second = '';
let third = '';
const posted = new Map<string, Message>();

let cluster: DevCluster;
/** While it stands, the third node does not get healthy with 0b1. */
let sick: string;
/** While it stands, the third node cannot leave maintenance. */
let locked: string;

before(async () => {
  cluster = await DevCluster.start('--nodes', '5', '--soak', '300ms');
  sick = join(cluster.folder, 'sick');
  locked = join(cluster.folder, 'locked');
  writeFileSync(sick, '');
  const dry = await cluster.plexictl(['rollout', '--to', '0b1', '--dry-run', '-o', 'json']);
  nodes = documentOf(planDocument, dry).plan.nodes.map(({ id }) => id);
  [, second = '', third = ''] = nodes;
  cluster.hurryProbes(4_000);
  cluster.makeHoldable(second);
  cluster.reconfigure(third, (config) => {
    const healthy = '[ "$PLEXI_EXPECTED_VERSION" != 0b1 ] || [ ! -e "$0" ]';
    config.probes.push({ kind: 'command', argv: ['sh', '-c', healthy, sick] });
    const marker = config.maintenance.leave.at(-1) ?? '';
    config.maintenance.leave = ['sh', '-c', '[ ! -e "$0" ] && rm -f "$1"', locked, marker];
  });
  await cluster.up();
  for (const node of nodes) posted.set(node, await cluster.post(node, `hello from ${node}`));
});
after(() => cluster?.stop());

async function versions(): Promise<string[]> {
  return Promise.all(nodes.map((node) => cluster.serviceVersion(node)));
}

const journals = (of: readonly string[]) =>
  of.map((node) => treeHash(join(cluster.nodeRoot(node), 'agent', 'journal')));

/**
 * The third node fails while the second stands in its maintenance hook, so that the fourth and the fifth
 * never get a place; then the second is let go on.
 */
async function failOnThird(
  ...words: string[]
): Promise<{ keys: EtcdEvents; ended: ReturnType<DevCluster['plexictl']> }> {
  const keys = await cluster.follow();
  cluster.hold(second);
  const command = cluster.begin([
    'rollout',
    '--to',
    '0b1',
    '--yes',
    '--max-concurrent',
    '2',
    '-o',
    'json',
    ...words,
  ]);
  await keys.until(
    ({ key, value }) => key.endsWith(`/nodes/${third}`) && value.error !== null && value.error !== undefined,
    'the failure of the third node',
  );
  cluster.release(second);
  return { keys, ended: command.ended };
}

async function assertInService(expected: readonly string[]): Promise<void> {
  const { nodes: all } = documentOf(nodesDocument, await cluster.plexictl(['nodes', '-o', 'json']));
  assert.deepEqual(
    all.filter(({ inService }) => inService).map(({ id }) => id),
    [...expected].sort(),
  );
}

async function assertDataUnchanged(): Promise<void> {
  for (const node of nodes) assert.deepEqual(await cluster.messages(node), [posted.get(node)], node);
}

describe('the third of five fails, two at a time', () => {
  test('the first three go back, the other two are never touched, nobody is left in maintenance: exit 1', async () => {
    const untouched = journals(nodes.slice(3));
    const { keys, ended } = await failOnThird();
    const { code, ...run } = await ended;
    assert.equal(code, 1, run.stderr);
    const { rollout } = documentOf(statusDocument, { code, ...run });
    assert.deepEqual([rollout?.phase, rollout?.counts], ['rolled_back', { ready: 2, rolled_back: 3 }]);
    assert.match(errorOf({ code, ...run }).message, new RegExp(`${third} failed at probe`));
    await keys.rolloutEnded();
    assert.ok(mostAtOnce(keys.of('slots/')) <= 2);
    assert.deepEqual(
      await versions(),
      nodes.map(() => '0a1'),
    );
    assert.deepEqual(journals(nodes.slice(3)), untouched);
    for (const node of nodes.slice(3)) assert.deepEqual(readJournal(cluster.nodeRoot(node)), []);
    await assertDataUnchanged();
    await assertInService(nodes);
  });

  test('its rollback fails too: exit 4, it keeps a slot of its own, and the others are back', async () => {
    writeFileSync(locked, '');
    const { keys, ended } = await failOnThird();
    const { code, ...run } = await ended;
    assert.equal(code, 4, run.stderr);
    await keys.rolloutEnded();
    const { rollout } = documentOf(statusDocument, { code, ...run });
    assert.deepEqual(
      [rollout?.phase, rollout?.counts],
      ['failed', { ready: 2, rolled_back: 2, rollback_failed: 1 }],
    );
    assert.ok(await cluster.key(`slots/stuck-${third}`), 'its key');
    assert.deepEqual(
      await versions(),
      nodes.map(() => '0a1'),
    );
    await assertInService(nodes.filter((node) => node !== third));

    const refused = await cluster.plexictl(['rollout', '--to', '0b1', '--yes', '-o', 'json']);
    assert.equal(refused.code, 3, 'nothing starts beside it');
    assert.match(
      errorOf(refused).message,
      new RegExp(`${third} needs an operator.*plexictl node confirm ${third}`),
    );
    const why = await cluster.plexictl(['why', third]);
    assert.match(why.stdout, new RegExp(`plexictl node confirm ${third}`));
  });

  test('once the operator has put it right and says so, it serves, and the next rollout starts', async () => {
    rmSync(locked);
    const words = ['node', 'confirm', third, '--version', '0a1', '--reason', 'freed the load balancer'];
    const confirmed = await cluster.plexictl(words);
    assert.equal(confirmed.code, 0, confirmed.stderr);
    assert.equal(await cluster.key(`slots/stuck-${third}`), undefined);
    assert.ok(!existsSync(join(cluster.nodeRoot(third), 'run', 'maintenance')));
    await assertInService(nodes);
  });
});

describe('with rollback off', () => {
  test('a failure pauses: exit 5, versions are mixed; why says what would help', async () => {
    await cluster.changePolicy({ safety: { rollback_on_failure: false } });
    const run = await cluster.plexictl(['rollout', '--to', '0b1', '--yes', '-o', 'json']);
    assert.equal(run.code, 5, run.stderr);
    const { rollout } = documentOf(statusDocument, run);
    assert.deepEqual([rollout?.phase, rollout?.counts], ['paused', { ready: 2, done: 2, rolled_back: 1 }]);
    assert.deepEqual(await versions(), ['0b1', '0b1', '0a1', '0a1', '0a1']);
    const why = await cluster.plexictl(['why', nodes[3] ?? '', '-o', 'json']);
    assert.match(why.stdout, /paused/);
    const second = await cluster.plexictl(['rollout', '--to', '0r1', '--yes', '-o', 'json']);
    assert.equal(second.code, 3);
    assert.match(errorOf(second).message, new RegExp(rollout?.id ?? '?'));
  });

  test('retry: the node is tried again, and the rollout goes on to its end: exit 0', async () => {
    const early = await cluster.plexictl(['retry', '--node', nodes[4] ?? '', '-o', 'json']);
    assert.equal(early.code, 3, 'it has not failed');
    rmSync(sick);
    const retried = await cluster.plexictl(['retry', '--node', third]);
    assert.equal(retried.code, 0, retried.stderr);
    const watched = await cluster.plexictl(['watch', '-o', 'json']);
    assert.equal(watched.code, 0, watched.stderr);
    assert.deepEqual(
      await versions(),
      nodes.map(() => '0b1'),
    );
    await assertInService(nodes);
    const again = await cluster.plexictl(['rollout', '--to', '0b1', '--yes']);
    assert.equal(again.code, 0, 'at the target already');
  });
});
