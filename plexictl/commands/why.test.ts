/**
 * `plexictl why`: whatever keeps a node from going on is named, with the command that would help; and a
 * node that waits for nothing says what it does.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Node } from '../../gen/plexi/v1/nodes.js';
import type { ClusterStatus } from '../../gen/plexi/v1/rollouts.js';
import { at, sampleNode, sampleStatus } from '../render/sample-status.test.part.js';
import { whyOf } from '../render/why.js';
import {
  documentOf,
  errorOf,
  plexictl,
  type ScriptedCluster,
  scriptedCluster,
} from '../scripted-controller.test.part.js';

const idle = Node.fromPartial({
  id: 'node-2',
  version: '0a1',
  phase: 'idle',
  health: 'healthy',
  inService: true,
  address: '10.0.0.2:7400',
});
const over: ClusterStatus = sampleStatus([sampleNode('node-2', 'done')], {
  phase: 'succeeded',
  finishedAt: at(9),
});
const slot = {
  reason: 'at most 1 node may be out of service',
  since: at(3),
  unblock: 'the end of the soak of a node before it',
};
const waits = sampleStatus([
  sampleNode('node-1', 'probing', { attempt: 2, since: at(4) }),
  sampleNode('node-2', 'ready', { waitingOn: [slot] }),
]);

function reasons(node: Partial<Node>, status: ClusterStatus = over): (readonly [string, string])[] {
  const { waitingOn } = whyOf(Node.fromPartial({ ...idle, ...node }), status);
  return waitingOn.map(({ reason, unblock }) => [reason, unblock] as const);
}

describe('what keeps a node', () => {
  test('is what its rollout waits for, while that is not over', () => {
    assert.deepEqual(reasons({}, waits), [[slot.reason, slot.unblock]]);
    assert.equal(whyOf(idle, waits).doing, null);
    const finished = sampleStatus([sampleNode('node-2', 'skipped', { waitingOn: [slot] })], {
      phase: 'aborted',
    });
    assert.deepEqual(reasons({}, finished), []);
  });

  test('of a rollout that is paused is told with the reason that the rollout has', () => {
    const pause = { reason: 'the rollout is paused', unblock: 'plexictl resume', since: at(3) };
    const paused = sampleStatus([sampleNode('node-2', 'ready', { waitingOn: [pause] })], {
      phase: 'paused',
      reason: 'paused by ops: the disk is full',
    });
    const told = 'the rollout is paused: paused by ops: the disk is full';
    assert.deepEqual(reasons({}, paused), [[told, 'plexictl resume']]);
  });

  const cases: readonly (readonly [string, Partial<Node>, RegExp, RegExp])[] = [
    ['a hold', { held: 'ops: new disk' }, /kept away.*ops: new disk/, /`plexictl node release node-2`/],
    [
      'maintenance by hand',
      { inMaintenance: true, outReason: 'maintenance by ops' },
      /in maintenance: maintenance by ops/,
      /`plexictl node maintenance off node-2`/,
    ],
    [
      'maintenance by hand after a rollout, whose end its phase still tells',
      { inMaintenance: true, outReason: 'maintenance by ops', phase: 'done' },
      /in maintenance: maintenance by ops/,
      /`plexictl node maintenance off node-2`/,
    ],
    [
      'maintenance by hand after a rollout that went back',
      { inMaintenance: true, phase: 'rolled_back' },
      /it is in maintenance/,
      /`plexictl node maintenance off node-2`/,
    ],
    ['a silent agent', { unknown: true }, /10\.0\.0\.2:7400 cannot be reached/, /start plexi-node-agent/],
    [
      'a hand that it needs',
      { needsOperator: 'its way back failed' },
      /needs an operator: its way back failed/,
      /`plexictl node confirm node-2 --version 0a1 --reason TEXT`/,
    ],
  ];
  for (const [what, node, reason, unblock] of cases) {
    test(`is ${what}, with the command that helps`, () => {
      const [[said = '', help = ''] = []] = reasons(node);
      assert.match(said, reason);
      assert.match(help, unblock);
    });
  }

  test('is a freeze, while no rollout runs', () => {
    const freeze = { reason: 'holidays', by: 'ops', since: at(1) };
    const [[reason = '', unblock = ''] = []] = reasons({}, { ...over, freeze });
    assert.match(reason, /frozen by ops: holidays/);
    assert.equal(unblock, '`plexictl freeze off`');
    assert.equal(reasons({}, { ...waits, freeze }).length, 1);
  });

  test('is named once, also when the rollout says it too', () => {
    const silent = { reason: 'it cannot be reached', since: at(3), unblock: 'its agent answers' };
    const status = sampleStatus([sampleNode('node-2', 'ready', { unknown: true, waitingOn: [silent] })]);
    assert.deepEqual(reasons({ unknown: true }, status), [[silent.reason, silent.unblock]]);
  });

  test('comes all at once, what needs a hand first', () => {
    const all = reasons({ needsOperator: 'x', held: 'y', unknown: true, inMaintenance: true }, waits);
    assert.equal(all.length, 5);
    assert.match(all[0]?.[0] ?? '', /needs an operator/);
  });

  test('is nothing for a node at work or at rest, which says so', () => {
    const busy = whyOf(
      Node.fromPartial({ id: 'node-1', version: '0a1', inMaintenance: true, phase: 'probing' }),
      waits,
    );
    assert.deepEqual(busy.waitingOn, []);
    assert.equal(busy.doing, 'probing, try 2 in update_0a1_0b1_20241219_120000 (0a1 → 0b1)');
    assert.equal(whyOf(idle, over).doing, 'nothing is under way; it runs 0a1, in service, healthy');
    const ordered = Node.fromPartial({ ...idle, order: 'adopt 3.0.0' });
    assert.match(whyOf(ordered, over).doing ?? '', /adopt 3\.0\.0/);
  });
});

describe('plexictl why', () => {
  let cluster: ScriptedCluster;
  let config: string;
  before(async () => {
    cluster = await scriptedCluster();
    const controller = await cluster.controller({ status: () => waits, nodes: () => [idle] });
    config = await cluster.clientFile([controller.address]);
  });
  after(() => cluster.stop());

  test('tells people each reason, since when, and what would help', async () => {
    const { stdout } = await plexictl(['why', 'node-2'], { config });
    assert.match(stdout, /^node-2 in cluster dev: waits \(ready\)\n\nIt waits because\n/);
    assert.match(
      stdout,
      / {2}- at most 1 node .* \(since 2024-12-19 12:00Z, .*\)\n {4}goes on with: the end/,
    );
  });

  test('-o json has the reasons as status has them', async () => {
    const document = documentOf(await plexictl(['why', 'node-2', '-o', 'json'], { config }));
    assert.deepEqual(document, {
      cluster: 'dev',
      node: 'node-2',
      phase: 'ready',
      doing: null,
      version: '0a1',
      health: 'healthy',
      healthReason: null,
      unknown: false,
      inService: true,
      outReason: null,
      rollout: 'update_0a1_0b1_20241219_120000',
      error: null,
      waitingOn: [{ ...slot, since: '2024-12-19T12:00:03.000Z' }],
    });
  });

  test('a node that is not there is refused with 3', async () => {
    const ran = await plexictl(['why', 'node-9', '-o', 'json'], { config });
    assert.deepEqual([ran.exitCode, ran.stdout, errorOf(ran).code], [3, '', 'NOT_FOUND']);
  });
});
