/** Orders of an operator to one node: whose slot is freed by them, and what waits for their end. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { releaseAt, sampleNode, samplePlan } from '../../test/scenarios/sample-plan.test.part.js';
import { advance } from './advance.js';
import { emptyWorld } from './empty-world.test.part.js';
import type { EngineEvent } from './events.js';
import { wishRefusal } from './wishes.js';
import type { NodeOrder, Slot, World } from './world.js';

const order: NodeOrder = {
  kind: 'confirm',
  version: '0a1',
  directory: '',
  reason: 'put right',
  by: 'op',
  sinceMs: 5,
  state: 'open',
  message: '',
  digest: '',
};
const seen = (node: string): EngineEvent => ({
  kind: 'observed',
  node,
  observation: {
    health: 'healthy',
    healthReason: '',
    goodForMs: 0,
    release: releaseAt('0a1'),
    inMaintenance: false,
  },
});

function play(world: World, ...events: EngineEvent[]) {
  return advance(world, events, 10);
}

/** The end of the order that was sent to a node. */
function ended(node: string): EngineEvent {
  const outcome = {
    outcome: 'done',
    failure: null,
    failedStep: '',
    release: releaseAt('0a1'),
    problems: [],
    backupId: '',
  } as const;
  return { kind: 'finished', node, commandId: `confirm.${node}.5`, outcome };
}

describe('an order', () => {
  test('is sent once the node was adopted, and again after its stream broke', () => {
    const { world, effects } = play(emptyWorld, seen('node-1'), { kind: 'order', node: 'node-1', order });
    assert.deepEqual(effects, [{ kind: 'adopt', node: 'node-1' }]);
    const sent = play(world, { kind: 'adopted', node: 'node-1' });
    const command = { kind: 'take_over', id: 'confirm.node-1.5', attempt: 1 } as const;
    assert.deepEqual(sent.effects, [{ kind: 'send', node: 'node-1', command }]);
    const broken = play(sent.world, { kind: 'stream_broken', node: 'node-1', commandId: command.id });
    assert.deepEqual(broken.effects, []);
    assert.deepEqual(advance(broken.world, [{ kind: 'tick' }], 5_000).effects, sent.effects);
  });

  test('that was done frees the slot that was kept apart for the node', () => {
    const slot = {
      node: 'node-1',
      reason: 'it failed',
      rollout: 'r',
      term: '6',
      sinceMs: 1,
      maintenance: null,
    };
    const stuck = { ...emptyWorld, slots: new Map([['stuck-node-1', slot]]) };
    const begun = play(stuck, seen('node-1'), { kind: 'order', node: 'node-1', order }).world;
    assert.equal(begun.slots.size, 1);
    assert.deepEqual([...play(begun, ended('node-1')).world.slots], []);
  });

  test('gives the slot back to an operator who had the node in maintenance before, also above the budget', () => {
    const maintenance = {
      wanted: 'in',
      attempt: 1,
      reason: 'a new disk',
      failed: false,
      done: true,
    } as const;
    const slot = { node: 'node-1', reason: 'it failed', rollout: 'r', term: '6', sinceMs: 1, maintenance };
    const other = { ...slot, node: 'node-2', maintenance: null };
    const stuck = {
      ...emptyWorld,
      slots: new Map<string, Slot>([
        ['stuck-node-1', slot],
        ['0', other],
      ]),
    };
    const begun = play(stuck, seen('node-1'), { kind: 'order', node: 'node-1', order }).world;
    const { slots } = play(begun, ended('node-1')).world;
    assert.deepEqual([...slots.keys()].sort(), ['0', '1']);
    assert.deepEqual(slots.get('1'), { ...slot, rollout: '', reason: 'a new disk' });
  });

  test('keeps a failed node from being tried again while it is under way', () => {
    const { plan } = samplePlan({
      nodes: [sampleNode('node-1', '0a1')],
      to: '0b1',
      policy: { rollbackOnFailure: false },
    });
    const start = { kind: 'start', id: 'u', plan, by: 'op', requestId: 'r' } as const;
    let { world } = play(emptyWorld, start, seen('node-1'), { kind: 'adopted', node: 'node-1' });
    const answer = (kind: string, outcome: 'done' | 'rolled_back'): EngineEvent => ({
      kind: 'finished',
      node: 'node-1',
      commandId: `u.node-1.${kind}.1`,
      outcome: {
        outcome,
        failure: outcome === 'done' ? null : { code: 'PROBE_FAILED', message: 'sick' },
        failedStep: outcome === 'done' ? '' : 'probe',
        release: releaseAt('0a1'),
        problems: [],
        backupId: '',
      },
    });
    for (const event of [
      answer('preflight', 'done'),
      answer('stage', 'done'),
      answer('upgrade', 'rolled_back'),
    ])
      world = play(world, event).world;
    assert.equal(world.rollout?.phase, 'paused');
    const wish = { kind: 'retry', node: 'node-1', reason: '' } as const;
    assert.equal(wishRefusal(world, wish), undefined);
    const ordered = play(world, { kind: 'order', node: 'node-1', order }).world;
    assert.match(wishRefusal(ordered, wish) ?? '', /an order is under way on node-1/);
    assert.equal(
      play(ordered, { kind: 'wish', wish }).world.rollout?.nodes.get('node-1')?.state.phase,
      'rolled_back',
    );
  });
});
