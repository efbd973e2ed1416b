/**
 * The words that look at the cluster or change one thing in it: what is asked of the controllers, and
 * that the documents have exactly the keys of the contract (section 6).
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { parse } from 'yaml';
import { Node } from '../../gen/plexi/v1/nodes.js';
import type { Rollout } from '../../gen/plexi/v1/rollouts.js';
import { at, sampleNode, sampleStatus } from '../render/sample-status.test.part.js';
import {
  documentOf,
  plexictl,
  type ScriptedCluster,
  type ScriptedController,
  scriptedCluster,
} from '../scripted-controller.test.part.js';

const waitingOn = [{ reason: 'waits for a slot', since: at(3), unblock: 'it goes on once node-1 is done' }];
const running = sampleStatus([
  sampleNode('node-1', 'probing', { step: 'upgrade', attempt: 1, outSince: at(2) }),
  sampleNode('node-2', 'pending', { waitingOn, unknown: true }),
]);
const nodes = [
  Node.fromPartial({
    id: 'node-1',
    version: '0a1',
    digest: 'ab'.repeat(32),
    phase: 'idle',
    health: 'healthy',
    inService: true,
    address: '127.0.0.1:7',
    labels: { zone: 'a' },
    since: at(0),
    agentVersion: '0.1.0',
  }),
  Node.fromPartial({ id: 'node-2', health: 'unknown', unknown: true, address: '127.0.0.1:8' }),
];

const quiet = {
  inMaintenance: false,
  held: null,
  needsOperator: null,
  healthReason: null,
  outReason: null,
  order: null,
};

describe('words on the cluster', () => {
  let cluster: ScriptedCluster;
  let controller: ScriptedController;
  let config: string;
  before(async () => {
    cluster = await scriptedCluster();
    controller = await cluster.controller({
      status: () => running,
      history: () =>
        running.rollout === undefined ? [] : [{ ...running.rollout, nodes: [] } satisfies Rollout],
      nodes: () => nodes,
      wish: () => 'update_0a1_0b1_20241219_120000',
    });
    config = await cluster.clientFile([controller.address]);
  });
  after(() => cluster.stop());
  const lastAsked = () => controller.asked.at(-1);

  test('status -o json', async () => {
    const ran = await plexictl(['status', 'update_x', '-o', 'json'], { config });
    assert.deepEqual(lastAsked(), { word: 'get', request: { id: 'update_x' } });
    assert.deepEqual(documentOf(ran), {
      cluster: 'dev',
      leader: { id: 'controller-0', term: 12, epoch: 1 },
      freeze: null,
      rollout: {
        id: 'update_0a1_0b1_20241219_120000',
        from: '0a1',
        to: '0b1',
        phase: 'rolling',
        reason: null,
        startedAt: '2024-12-19T12:00:00.000Z',
        finishedAt: null,
        planDigest: 'd'.repeat(64),
        counts: { probing: 1, pending: 1 },
        nodes: [
          {
            id: 'node-1',
            phase: 'probing',
            step: 'upgrade',
            attempt: 1,
            version: '0a1',
            error: null,
            unknown: false,
            waitingOn: [],
          },
          {
            id: 'node-2',
            phase: 'pending',
            step: null,
            attempt: 0,
            version: '0a1',
            error: null,
            unknown: true,
            waitingOn: [
              {
                reason: 'waits for a slot',
                since: '2024-12-19T12:00:03.000Z',
                unblock: 'it goes on once node-1 is done',
              },
            ],
          },
        ],
      },
    });
    assert.equal(ran.stderr, '');
  });

  test('status for people, with what a waiting node waits for', async () => {
    const { stdout } = await plexictl(['status'], { config });
    assert.match(
      stdout,
      /^Leader {3}controller-0 \(term 12, epoch 1\)\nRollout {2}update_0a1_0b1_20241219_120000\n/,
    );
    assert.match(stdout, /Change {3}0a1 → 0b1, started 2024-12-19 12:00Z by ops\n/);
    assert.match(stdout, /node-2 {2}pending \(unknown\) {2}0a1 .*waits for a slot; it goes on once …\n/);
    const wide = await plexictl(['status', '-o', 'wide'], { config });
    assert.match(wide.stdout, /waits for a slot; it goes on once node-1 is done\n/);
  });

  test('nodes, in every form', async () => {
    const document = {
      nodes: [
        {
          id: 'node-1',
          version: '0a1',
          digest: 'ab'.repeat(32),
          phase: 'idle',
          health: 'healthy',
          unknown: false,
          inService: true,
          address: '127.0.0.1:7',
          labels: { zone: 'a' },
          since: '2024-12-19T12:00:00.000Z',
          ...quiet,
        },
        {
          id: 'node-2',
          version: null,
          digest: null,
          phase: null,
          health: 'unknown',
          unknown: true,
          inService: false,
          address: '127.0.0.1:8',
          labels: {},
          since: null,
          ...quiet,
        },
      ],
    };
    assert.deepEqual(documentOf(await plexictl(['nodes', '-o', 'json'], { config })), document);
    assert.deepEqual(documentOf(await plexictl(['node', 'list', '-o', 'json'], { config })), document);
    assert.deepEqual(parse((await plexictl(['nodes', '-o', 'yaml'], { config })).stdout), document);
    assert.match((await plexictl(['nodes', '-o', 'wide'], { config })).stdout, /LABELS\nnode-1 .*zone=a\n/);
    assert.doesNotMatch((await plexictl(['nodes'], { config })).stdout, /LABELS/);
  });

  test('a version in YAML stays a string', async () => {
    const { stdout } = await plexictl(['nodes', '-o', 'yaml'], { config });
    assert.match(stdout, /version: "0a1"/);
  });

  test('history -o json', async () => {
    const ran = await plexictl(['history', '--limit', '5', '-o', 'json'], { config });
    assert.deepEqual(lastAsked(), { word: 'list', request: { limit: 5 } });
    assert.deepEqual(documentOf(ran), {
      rollouts: [
        {
          id: 'update_0a1_0b1_20241219_120000',
          from: '0a1',
          to: '0b1',
          phase: 'rolling',
          reason: null,
          startedAt: '2024-12-19T12:00:00.000Z',
          finishedAt: null,
          startedBy: 'ops',
        },
      ],
    });
  });

  const wishes: readonly (readonly [string, string, object])[] = [
    ['pause --reason alarm', 'pause', { id: '', reason: 'alarm' }],
    ['resume', 'resume', { id: '', reason: '' }],
    ['abort', 'abort', { id: '', rollback: false, reason: '' }],
    ['abort --rollback', 'abort', { id: '', rollback: true, reason: '' }],
  ];
  for (const [words, word, request] of wishes) {
    test(`${words} names the rollout it is in force for`, async () => {
      const ran = await plexictl([...words.split(' '), '-o', 'json'], { config });
      assert.deepEqual(documentOf(ran), { cluster: 'dev', rollout: 'update_0a1_0b1_20241219_120000' });
      assert.deepEqual(lastAsked(), { word, request });
    });
  }

  test('node add, remove and maintenance', async () => {
    await plexictl(['node', 'add', 'node-4', '--address', '10.0.0.4:7400', '--label', 'zone=b', 'rack=2'], {
      config,
    });
    assert.deepEqual(lastAsked(), {
      word: 'add',
      request: { nodeId: 'node-4', address: '10.0.0.4:7400', labels: { zone: 'b', rack: '2' } },
    });
    await plexictl(['node', 'remove', 'node-4', '--reason', 'scrapped'], { config });
    assert.deepEqual(lastAsked(), { word: 'remove', request: { nodeId: 'node-4', reason: 'scrapped' } });
    const ran = await plexictl(['node', 'maintenance', 'on', 'node-1'], { config });
    assert.deepEqual(lastAsked(), {
      word: 'setMaintenance',
      request: { nodeId: 'node-1', on: true, reason: '' },
    });
    assert.equal(ran.stdout, 'node node-1 of cluster dev: in maintenance\n');
  });

  test('version --detailed tells the controllers, the leader and the agents', async () => {
    const ran = await plexictl(['version', '--detailed', '-o', 'json'], { config });
    const document = documentOf(ran);
    assert.ok(
      document !== null && typeof document === 'object' && 'controllers' in document && 'nodes' in document,
    );
    assert.deepEqual(document.controllers, [{ address: controller.address, reachable: true }]);
    assert.deepEqual(document.nodes, [
      { id: 'node-1', version: '0a1', agentVersion: '0.1.0' },
      { id: 'node-2', version: null, agentVersion: null },
    ]);
  });

  test('version compare', async () => {
    for (const [a, b, result] of [
      ['0b1', '0r1', '<'],
      ['0r1', '0r1', '='],
      ['1a1', '0r9', '>'],
    ] as const) {
      assert.equal((await plexictl(['version', 'compare', a, b])).stdout, `${result}\n`);
      assert.deepEqual(documentOf(await plexictl(['version', 'compare', a, b, '-o', 'json'])), {
        a,
        b,
        result,
      });
    }
  });
});
