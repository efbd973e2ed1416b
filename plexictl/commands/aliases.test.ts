/**
 * Other names for words: each asks the controllers for the same as the word it stands for. And the
 * contexts of a client file, as the command line chooses them.
 */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
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
const ended = sampleStatus([sampleNode('node-1', 'done')], { phase: 'succeeded', finishedAt: at(9) });
const nodes = [
  Node.fromPartial({ id: 'node-1', version: '0b1', labels: { zone: 'a' } }),
  Node.fromPartial({ id: 'node-2', version: '0b1', labels: { zone: 'b' } }),
  Node.fromPartial({ id: 'node-3', version: '0a1', labels: { zone: 'c' } }),
];
const plan = Plan.fromPartial({
  cluster: 'dev',
  to: '0b1',
  nodes: [{ id: 'node-1', from: '0b1', to: '0b1', strategy: 'restart' }],
});

describe('other names and contexts', () => {
  let cluster: ScriptedCluster;
  let controller: ScriptedController;
  let config: string;
  before(async () => {
    cluster = await scriptedCluster();
    controller = await cluster.controller({
      status: () => ended,
      history: () => [],
      nodes: () => nodes,
      plan: () => plan,
      wish: () => id,
      start: () => ({ id, nothingToDo: false }),
    });
    config = await cluster.clientFile([controller.address]);
  });
  after(() => cluster.stop());
  beforeEach(() => controller.asked.splice(0));
  const asked = () => controller.asked.map(({ word }) => word);

  const pairs: readonly (readonly [string, string])[] = [
    ['rollout status', 'status'],
    ['rollout status update_x', 'status update_x'],
    ['rollout pause --reason alarm', 'pause --reason alarm'],
    ['rollout resume', 'resume'],
    ['rollout history --limit 5', 'history --limit 5'],
    ['update upgrade --to 0b1 --dry-run', 'rollout --to 0b1 --dry-run'],
    ['update downgrade --to 0a1 --dry-run', 'downgrade --to 0a1 --dry-run'],
    ['update status', 'status'],
    ['update history', 'history'],
    ['update version', 'version'],
    ['update version compare 0a1 0b1', 'version compare 0a1 0b1'],
    ['node list', 'nodes'],
  ];
  for (const [other, word] of pairs) {
    test(`${other} is ${word}`, async () => {
      const one = await plexictl(word.split(' '), { config });
      const requests = controller.asked.splice(0);
      const same = await plexictl(other.split(' '), { config });
      assert.deepEqual([same, controller.asked], [one, requests]);
    });
  }

  test('rollout undo and update rollback take the last rollout back', async () => {
    for (const words of [
      ['rollout', 'undo', '-y'],
      ['update', 'rollback', '-y'],
    ]) {
      const ran = await plexictl([...words, '--no-wait', '-o', 'json'], { config });
      assert.deepEqual(documentOf(ran), { cluster: 'dev', rollout: id });
    }
    assert.deepEqual(asked(), ['get', 'rollback', 'get', 'rollback']);
  });

  test('rollout restart restarts what runs, and asks which version when there are several', async () => {
    const ran = await plexictl(['rollout', 'restart', '--node', 'node-1', '-y', '--no-wait'], { config });
    assert.equal(ran.exitCode, 0, ran.stderr);
    const { to, restart, nodes: chosen } = Object(controller.asked[1]?.request).request;
    assert.deepEqual([to, restart, chosen], ['0b1', true, ['node-1']]);
    assert.equal(
      (await plexictl(['rollout', 'restart', '--exclude', 'node-3', '-y', '--no-wait'], { config })).exitCode,
      0,
    );
    assert.equal(
      (await plexictl(['rollout', 'restart', '--selector', 'zone=c', '--dry-run'], { config })).exitCode,
      0,
    );
    const mixed = await plexictl(['rollout', 'restart', '-y', '-o', 'json'], { config });
    assert.deepEqual([mixed.exitCode, errorOf(mixed).code], [3, 'PLAN_REFUSED']);
    assert.match(errorOf(mixed).message, /run 0b1, 0a1, .* --to VERSION/);
  });

  test('--context and PLEXI_CONTEXT choose the cluster; an unknown one is exit 2 with the known ones', async () => {
    const file = join(cluster.folder, 'contexts.yml');
    const here = { controllers: [controller.address], tls: cluster.files };
    const dead = { controllers: ['127.0.0.1:1'], tls: cluster.files };
    await writeFile(file, JSON.stringify({ contexts: { here, dead }, current_context: 'dead' }));
    const run = (words: readonly string[], environment = {}) =>
      plexictl(words, { config: file, environment });
    assert.equal((await run(['nodes'])).exitCode, 6);
    assert.equal((await run(['nodes', '--context', 'here'])).exitCode, 0);
    assert.equal((await run(['nodes'], { PLEXI_CONTEXT: 'here' })).exitCode, 0);
    assert.equal((await run(['nodes', '--controller', controller.address])).exitCode, 0);
    const unknown = await run(['nodes', '--context', 'nowhere', '-o', 'json']);
    assert.deepEqual([unknown.exitCode, errorOf(unknown).details.contexts], [2, ['here', 'dead']]);
    assert.match(errorOf(unknown).message, /no context nowhere; .* knows here, dead/);
  });
});
