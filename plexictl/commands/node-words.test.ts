/**
 * The words on single nodes and on the whole cluster beside the rollout: what is asked of the
 * controllers, what is refused before anybody is asked, and that each answer names its cluster.
 */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { PlexiError } from '../../config/errors.js';
import { Node } from '../../gen/plexi/v1/nodes.js';
import { Plan } from '../../gen/plexi/v1/rollouts.js';
import { at, sampleNode, sampleStatus } from '../render/sample-status.test.part.js';
import {
  documentOf,
  errorOf,
  plexictl,
  type ScriptedCluster,
  type ScriptedController,
  scriptedCluster,
} from '../scripted-controller.test.part.js';

const id = 'update_0a1_0b1_20241219_120000';
const nodes = [
  Node.fromPartial({ id: 'node-1', version: '0b1', phase: 'idle', inMaintenance: true }),
  Node.fromPartial({ id: 'node-2', version: '0a1', phase: 'idle' }),
  Node.fromPartial({ id: 'node-3', version: 'none', phase: 'idle' }),
];
const ended = sampleStatus(
  [sampleNode('node-1', 'done', { outSince: at(1), backAt: at(9) }), sampleNode('node-2', 'skipped')],
  { phase: 'succeeded', finishedAt: at(62) },
);
const failed = sampleStatus([sampleNode('node-1', 'rollback_failed')], {
  id: `rollback_${id}`,
  phase: 'failed',
  exitCode: 4,
  finishedAt: at(70),
});
const plan = Plan.fromPartial({
  cluster: 'dev',
  from: '0b1',
  to: '0b1',
  digest: 'd'.repeat(64),
  maxConcurrent: 1,
  requireConfirmation: true,
  nodes: [{ id: 'node-1', from: '0b1', to: '0b1', strategy: 'reinstall' }],
});

describe('words on nodes and on the cluster', () => {
  let cluster: ScriptedCluster;
  let controller: ScriptedController;
  let config: string;
  before(async () => {
    cluster = await scriptedCluster();
    controller = await cluster.controller({
      nodes: () => nodes,
      wish: () => id,
      plan: () => plan,
      status: () => ended,
      start: () => ({ id, nothingToDo: false }),
      watch: async function* () {
        yield ended;
      },
    });
    config = await cluster.clientFile([controller.address]);
  });
  after(() => cluster.stop());
  beforeEach(() => controller.asked.splice(0));
  const run = (words: readonly string[]) => plexictl([...words, '-o', 'json'], { config });

  const wishes: readonly (readonly [string[], string, object, object])[] = [
    [['retry', '--node', 'node-2'], 'retry', { id: '', nodeId: 'node-2', reason: '' }, { rollout: id }],
    [
      ['skip', '--node', 'node-2', '--reason', 'no disk'],
      'skip',
      { id: '', nodeId: 'node-2', reason: 'no disk' },
      { rollout: id },
    ],
    [['node', 'hold', 'node-2'], 'setHold', { nodeId: 'node-2', on: true, reason: '' }, { result: 'held' }],
    [['cordon', 'node-2'], 'setHold', { nodeId: 'node-2', on: true, reason: '' }, { result: 'held' }],
    [
      ['node', 'release', 'node-2', '--reason', 'seen'],
      'setHold',
      { nodeId: 'node-2', on: false, reason: 'seen' },
      { result: 'released' },
    ],
    [
      ['node', 'drain', 'node-2'],
      'setMaintenance',
      { nodeId: 'node-2', on: true, reason: '' },
      { result: 'in maintenance' },
    ],
    [
      ['node', 'adopt', 'node-3', '--version', '3.0.0', '--dir', '/srv/chat'],
      'takeOver',
      { nodeId: 'node-3', version: '3.0.0', directory: '/srv/chat', confirm: false, reason: '' },
      { version: '3.0.0', digest: 'e'.repeat(64) },
    ],
    [
      ['node', 'confirm', 'node-2', '--version', '0a1', '--reason', 'restored'],
      'takeOver',
      { nodeId: 'node-2', version: '0a1', directory: '', confirm: true, reason: 'restored' },
      { version: '0a1' },
    ],
    [
      ['freeze', 'on', '--reason', 'holidays'],
      'setFreeze',
      { on: true, reason: 'holidays' },
      { frozen: true },
    ],
    [['freeze', 'off'], 'setFreeze', { on: false, reason: '' }, { frozen: false, reason: null }],
  ];
  for (const [words, word, request, answer] of wishes) {
    test(`${words.join(' ')} asks for exactly that and names its cluster`, async () => {
      const ran = await run(words);
      assert.equal(ran.exitCode, 0, ran.stderr);
      assert.deepEqual(controller.asked, [{ word, request }]);
      const document = documentOf(ran);
      assert.ok(document !== null && typeof document === 'object');
      assert.deepEqual({ ...document, cluster: 'dev', ...answer }, document);
      assert.match((await plexictl(words, { config })).stdout, /cluster dev/);
    });
  }

  test('uncordon ends a maintenance only where there is one', async () => {
    await run(['uncordon', 'node-1']);
    assert.deepEqual(
      controller.asked.map(({ word }) => word),
      ['setHold', 'nodes', 'setMaintenance'],
    );
    controller.asked.splice(0);
    await run(['node', 'uncordon', 'node-2']);
    assert.deepEqual(
      controller.asked.map(({ word }) => word),
      ['setHold', 'nodes'],
    );
  });

  test('what lacks a reason, a word or a folder is refused before anybody is asked', async () => {
    const wrong: readonly (readonly [string[], RegExp])[] = [
      [['freeze', 'on'], /--reason/],
      [['freeze', 'on', '--reason', ' '], /say why/],
      [['freeze', 'maybe'], /neither on nor off/],
      [['node', 'confirm', 'node-2', '--version', '0a1'], /--reason/],
      [['node', 'adopt', 'node-2'], /--version/],
      [['node', 'adopt', 'node-2', '--version', '3.0.0', '--dir', 'srv'], /not absolute/],
      [['retry'], /--node/],
      [['skip', '--node', 'Node_2'], /no node's name/],
      [['logs', 'node-1', '--agent', '--service'], /only one of --agent, --service and --hook/],
      [['logs', 'node-1', '--tail', '0'], /whole number from 1/],
    ];
    for (const [words, sentence] of wrong) {
      const ran = await run(words);
      assert.deepEqual([ran.exitCode, ran.stdout], [2, ''], words.join(' '));
      assert.match(ran.stderr, sentence);
    }
    assert.deepEqual(controller.asked, []);
  });

  for (const word of ['adopt', 'confirm'])
    test(`node ${word} that takes longer than one waits goes on, and plexictl says where to look`, async () => {
      const order = ['node', word, 'node-3', '--version', '3.0.0', '--reason', 'by hand', '-o', 'json'];
      const stop = new AbortController();
      const slow = await cluster.controller({
        wish: () => {
          setImmediate(() => stop.abort());
          return new Promise<never>(() => {});
        },
      });
      const detached = await plexictl([...order, '--controller', slow.address], {
        config,
        interrupt: stop.signal,
      });
      assert.deepEqual(
        [detached.exitCode, detached.stdout, errorOf(detached).code],
        [130, '', 'INTERRUPTED'],
      );
      assert.match(errorOf(detached).message, /goes on, and `plexictl why node-3` shows it/);
      assert.equal(slow.asked.length, 1);

      const late = await cluster.controller({
        wish: () => {
          throw new PlexiError('TIMED_OUT', 'node-3 is silent');
        },
      });
      const ran = await plexictl([...order, '--controller', late.address], { config });
      assert.deepEqual([ran.exitCode, errorOf(ran).code], [1, 'TIMED_OUT']);
      assert.match(
        errorOf(ran).message,
        /node-3 of cluster dev .* goes on, and `plexictl why node-3` shows it/,
      );
      assert.equal(late.asked.length, 1);
    });

  test('node reinstall is a rollout of that node to the version that it runs', async () => {
    const ran = await plexictl(['node', 'reinstall', 'node-1', '--yes', '--reason', 'damaged'], { config });
    assert.equal(ran.exitCode, 0, ran.stderr);
    assert.match(ran.stdout, /^Reinstallation of 0b1 in cluster dev: 1 node to change/);
    assert.deepEqual(
      controller.asked.map(({ word }) => word),
      ['nodes', 'plan', 'start', 'watch'],
    );
    const { request } = Object(controller.asked[2]?.request);
    const { to, nodes: named, reinstall, reason } = request;
    assert.deepEqual([to, named, reinstall, reason], ['0b1', ['node-1'], true, 'damaged']);
  });

  test('node reinstall asks like a rollout, and refuses a node that runs nothing', async () => {
    const unasked = await run(['node', 'reinstall', 'node-1']);
    assert.deepEqual([unasked.exitCode, errorOf(unasked).code], [3, 'NOT_CONFIRMED']);
    const empty = await run(['node', 'reinstall', 'node-3', '--yes']);
    assert.deepEqual([empty.exitCode, errorOf(empty).code], [3, 'PLAN_REFUSED']);
    assert.match(empty.stderr, /plexictl rollout --to VERSION --node node-3/);
    const nobody = await run(['node', 'reinstall', 'node-9', '--yes']);
    assert.deepEqual([nobody.exitCode, errorOf(nobody).code], [3, 'NOT_FOUND']);
    assert.ok(controller.asked.every(({ word }) => word !== 'start'));
  });

  test('rollback shows what it takes back, and only yes starts it', async () => {
    const no = await plexictl(['rollback'], { config, answer: 'n' });
    assert.equal(no.exitCode, 3);
    assert.match(no.stdout, /^Rollback of update_0a1_0b1_20241219_120000 \(0a1 → 0b1, .* in cluster dev:\n/);
    assert.match(no.stdout, /\n {2}node-1 {2}0b1 {2}0a1\n/);
    assert.doesNotMatch(no.stdout, /node-2/);
    assert.match(no.stderr, /Take update_0a1_0b1_20241219_120000 back in cluster dev\. Go on\? \[y\/N\]/);
    assert.ok(controller.asked.every(({ word }) => word !== 'rollback'));
    const yes = await plexictl(['rollback'], { config, answer: 'y' });
    assert.equal(yes.exitCode, 0);
    assert.deepEqual(
      controller.asked.slice(-2).map(({ word }) => word),
      ['rollback', 'watch'],
      'it is followed',
    );
    const { id: asked, requestId } = Object(controller.asked.at(-2)?.request);
    assert.equal(asked, id);
    assert.match(requestId, /^[\w-]{21}$/);
  });

  test('rollback ends with the exit code of the rollback that it followed', async () => {
    const broken = await cluster.controller({
      status: () => ended,
      wish: () => `rollback_${id}`,
      watch: async function* () {
        yield failed;
      },
    });
    const hosts = ['--controller', broken.address, '--yes', '-o', 'json'];
    for (const words of [['rollback'], ['rollback', '-w'], ['rollout', 'undo']]) {
      const ran = await plexictl([...words, ...hosts], { config });
      assert.deepEqual([ran.exitCode, errorOf(ran).details.rollout], [4, `rollback_${id}`], words.join(' '));
    }
    const { exitCode, stdout } = await plexictl(['rollback', '--no-wait', ...hosts], { config });
    assert.deepEqual([exitCode, JSON.parse(stdout)], [0, { cluster: 'dev', rollout: `rollback_${id}` }]);
    const both = await plexictl(['rollback', '-w', '--no-wait', ...hosts], { config });
    assert.deepEqual([both.exitCode, errorOf(both).code], [2, 'USAGE']);
  });

  test('rollback of a rollout that changed nothing says so, and follows nothing', async () => {
    const restarted = await cluster.controller({ status: () => ended, wish: () => '' });
    const hosts = ['--controller', restarted.address, '--yes'];
    for (const more of [[], ['-w'], ['--no-wait']]) {
      const ran = await plexictl(['rollback', ...hosts, ...more], { config });
      assert.equal(ran.exitCode, 0, ran.stderr);
      assert.match(ran.stdout, new RegExp(`\n${id} in cluster dev: nothing to take back\n$`));
    }
    const { rollout, nothingToDo } = Object(
      documentOf(await plexictl(['rollback', ...hosts, '-o', 'json'], { config })),
    );
    assert.deepEqual([rollout, nothingToDo], [null, true]);
    assert.ok(restarted.asked.every(({ word }) => word !== 'watch'));
  });

  test('rollback without a terminal needs --yes, and then says nothing but its document', async () => {
    const unasked = await run(['rollback']);
    assert.deepEqual([unasked.exitCode, unasked.stdout, errorOf(unasked).code], [3, '', 'NOT_CONFIRMED']);
    const ran = await run(['rollback', '-y', '--update-id', id, '--no-wait']);
    assert.deepEqual(documentOf(ran), { cluster: 'dev', rollout: id });
  });
});
