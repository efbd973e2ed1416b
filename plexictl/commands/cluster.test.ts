/** `plexictl cluster re-epoch`: it asks first, says what it did, and names every node that must still be adopted. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { PlexiError } from '../../config/errors.js';
import { Node } from '../../gen/plexi/v1/nodes.js';
import { sampleStatus } from '../render/sample-status.test.part.js';
import {
  documentOf,
  errorOf,
  plexictl,
  type Script,
  type ScriptedCluster,
  type ScriptedController,
  scriptedCluster,
} from '../scripted-controller.test.part.js';

const raised = {
  epoch: 1_734_602_400n,
  previousEpoch: 1n,
  nodes: [
    { id: 'node-1', reached: true, seenEpoch: 1n, adopted: true },
    { id: 'node-2', reached: true, seenEpoch: 1n, adopted: false },
    { id: 'node-3', reached: false, seenEpoch: 0n, adopted: false },
  ],
};
const words = ['cluster', 're-epoch', '--reason', 'restored from Monday'];

describe('cluster re-epoch', () => {
  let cluster: ScriptedCluster;
  let controller: ScriptedController;
  let config: string;
  let script: { -readonly [key in keyof Script]: Script[key] };
  before(async () => {
    cluster = await scriptedCluster();
    script = {};
    controller = await cluster.controller(script);
    config = await cluster.clientFile([controller.address]);
  });
  beforeEach(() => {
    script.reEpoch = () => raised;
    controller.asked.length = 0;
  });
  after(() => cluster.stop());

  test('says what it did, and which nodes must still be adopted', async () => {
    const ran = await plexictl([...words, '--yes'], { config });
    assert.equal(ran.exitCode, 0, ran.stderr);
    assert.deepEqual(controller.asked, [{ word: 'reEpoch', request: { reason: 'restored from Monday' } }]);
    assert.equal(
      ran.stdout,
      [
        'cluster dev goes on with this etcd: its epoch is 1734602400 (it was 1), and whoever led before is refused',
        '1 of 3 nodes are adopted',
        'no node is taken out of service before these are adopted too:',
        '  node-2: its agent answers and is not adopted yet; see `plexictl why node-2`',
        '  node-3: its agent does not answer; start it, or say `plexictl node remove node-3` when it is gone',
        '',
      ].join('\n'),
    );
  });

  test('-o json', async () => {
    const ran = await plexictl([...words, '--yes', '-o', 'json'], { config });
    assert.deepEqual(documentOf(ran), {
      cluster: 'dev',
      epoch: 1_734_602_400,
      previousEpoch: 1,
      nodes: [
        { id: 'node-1', reached: true, seenEpoch: 1, adopted: true },
        { id: 'node-2', reached: true, seenEpoch: 1, adopted: false },
        { id: 'node-3', reached: false, seenEpoch: null, adopted: false },
      ],
    });
  });

  test('asks first; without a terminal it needs --yes, and a no changes nothing', async () => {
    const silent = await plexictl([...words, '-o', 'json'], { config });
    assert.deepEqual([silent.exitCode, errorOf(silent).code], [3, 'NOT_CONFIRMED']);
    const no = await plexictl(words, { config, answer: 'n' });
    assert.equal(no.exitCode, 3);
    assert.match(no.stderr, /Take the etcd that stands now for the truth in cluster dev\. Go on\?/);
    assert.deepEqual(controller.asked, []);
    const yes = await plexictl(words, { config, answer: 'y' });
    assert.equal(yes.exitCode, 0, yes.stderr);
    assert.equal(controller.asked.length, 1);
  });

  test('what a controller refuses has its exit code', async () => {
    script.reEpoch = () => {
      throw new PlexiError('STORE_INVALID', 'the key epoch does not hold an epoch');
    };
    assert.equal((await plexictl([...words, '--yes'], { config })).exitCode, 4);
  });

  describe('why NODE', () => {
    const nodes = [
      Node.fromPartial({ id: 'node-1', version: '0a1', health: 'healthy', inService: true, phase: 'idle' }),
    ];

    test('says that etcd was restored, and the word that helps', async () => {
      script.nodes = () => nodes;
      script.status = () => ({ ...sampleStatus([]), rollout: undefined });
      script.cluster = () => ({
        recovery: { state: 'refused', reason: 'etcd was restored (why)', awaited: [] },
      });
      const { stdout } = await plexictl(['why', 'node-1'], { config });
      assert.match(stdout, /- etcd was restored \(why\)\n {4}goes on with: `plexictl cluster re-epoch`\n/);
    });

    test('says what is awaited once every node was adopted', async () => {
      script.cluster = () => ({ recovery: { state: 'adopting', reason: 'etcd was restored', awaited: [] } });
      const { stdout } = await plexictl(['why', 'node-1'], { config });
      assert.match(stdout, /- etcd was restored\n {4}goes on with: a controller that leads\n/);
    });

    test('names the nodes that are awaited', async () => {
      const reason = 'not every node was adopted';
      script.cluster = () => ({ recovery: { state: 'adopting', reason, awaited: ['node-2', 'node-3'] } });
      const { stdout } = await plexictl(['why', 'node-1'], { config });
      assert.match(
        stdout,
        /- not every node was adopted\n.*the agents of node-2, node-3; .*`plexictl node remove node-2`/,
      );
    });
  });
});
