/** Orders of an operator to one node: whose slot is freed by them, and what waits for their end. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { after, finished, nodeOf, rolling } from '../../test/scenarios/paper-rollout.test.part.js';
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
function ended(node: string, inMaintenance: boolean | null = null): EngineEvent {
  const outcome = {
    outcome: 'done',
    failure: null,
    failedStep: '',
    release: releaseAt('0a1'),
    problems: [],
    backupId: '',
    inMaintenance,
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
    const kept = play(begun, ended('node-1', true)).world.slots;
    assert.deepEqual([...kept.keys()], ['0'], 'a node that is out all the same is an operator’s');
    assert.equal(kept.get('0')?.maintenance?.wanted, 'in');
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
    assert.deepEqual(play(begun, ended('node-1', true)).world.slots, slots);
    const served = play(begun, ended('node-1', false)).world.slots;
    assert.deepEqual([...served.keys()], ['0'], 'one that serves takes no slot above the budget');
  });

  test('of a node without a slot that is out all the same gives its operator one', () => {
    const begun = play(emptyWorld, seen('node-1'), { kind: 'order', node: 'node-1', order }).world;
    const { slots } = play(begun, ended('node-1', true)).world;
    assert.deepEqual([slots.get('0')?.node, slots.get('0')?.maintenance?.wanted], ['node-1', 'in']);
    assert.equal(play(begun, ended('node-1', false)).world.slots.size, 0);
  });

  test('of a node that an operator has out, and that serves now, frees his slot', () => {
    const out = play(emptyWorld, seen('node-1'), { kind: 'order', node: 'node-1', order });
    const held = play(out.world, ended('node-1', true)).world;
    const again = { ...order, sinceMs: 6 };
    const begun = play(held, { kind: 'order', node: 'node-1', order: again }).world;
    const end = ended('node-1', false);
    assert.ok(end.kind === 'finished');
    assert.equal(play(begun, { ...end, commandId: 'confirm.node-1.6' }).world.slots.size, 0);
  });

  test('touches no slot of another kind', () => {
    const slot = { node: 'node-1', reason: 'x', rollout: '', term: '6', sinceMs: 1, maintenance: null };
    const world = { ...emptyWorld, slots: new Map([['0', slot]]) };
    const begun = play(world, seen('node-1'), { kind: 'order', node: 'node-1', order }).world;
    assert.deepEqual([...play(begun, ended('node-1')).world.slots.keys()], ['0']);
  });

  test('that was refused, or has failed, says why; the end of another command says nothing', () => {
    const begun = play(emptyWorld, seen('node-1'), { kind: 'order', node: 'node-1', order }).world;
    const { world } = play(begun, { kind: 'adopted', node: 'node-1' });
    const fault = { code: 'NODE_CHANGED', message: 'it runs 0a2' };
    const refusal = { kind: 'refused', node: 'node-1', commandId: 'confirm.node-1.5', fault } as const;
    const refused = play(world, refusal).world.orders.get('node-1');
    assert.deepEqual([refused?.state, refused?.message], ['failed', 'it runs 0a2']);

    const end = ended('node-1');
    assert.ok(end.kind === 'finished');
    const outcome = { ...end.outcome, outcome: 'failed', failure: fault } as const;
    const failed = play(world, { ...end, outcome }).world.orders.get('node-1');
    assert.deepEqual([failed?.state, failed?.message], ['failed', 'it runs 0a2']);

    const other = play(world, { ...end, commandId: 'confirm.node-1.4', outcome }).world;
    assert.equal(other.orders.get('node-1')?.state, 'open');
  });

  test('that could not be carried out for an hour has failed, with what keeps it', () => {
    const given = play(emptyWorld, { kind: 'order', node: 'node-1', order }).world;
    const atEnd = advance(given, [{ kind: 'tick' }], order.sinceMs + 3_600_000).world;
    assert.equal(atEnd.orders.get('node-1')?.state, 'open');
    const over = advance(given, [{ kind: 'tick' }], order.sinceMs + 3_600_001).world.orders.get('node-1');
    assert.equal(over?.state, 'failed');
    assert.match(over?.message ?? '', /in time \(its agent could not be reached\); put that right/);

    const fault = { code: 'FENCE_UNREADABLE', message: 'its fence is gone' };
    const kept = play(given, { kind: 'adoption_failed', node: 'node-1', fault }).world;
    const told = advance(kept, [{ kind: 'tick' }], order.sinceMs + 3_600_001).world.orders.get('node-1');
    assert.match(told?.message ?? '', /in time \(its fence is gone\); put that right/);
  });

  test('says where a node of the rollout stands: at the target, back, or somewhere else', () => {
    const failure = { code: 'PROBE_FAILED', message: 'sick' };
    const bad = finished('node-1', 'upgrade', { outcome: 'rollback_failed', failure });
    const stuck = after(rolling(2, { rollbackOnFailure: false }), bad);
    assert.equal(nodeOf(stuck, 'node-1').state.phase, 'rollback_failed');
    const phaseAt = (version: string): string => {
      const end = ended('node-1');
      assert.ok(end.kind === 'finished');
      const outcome = { ...end.outcome, release: releaseAt(version) };
      const ordered = after(stuck, { kind: 'order', node: 'node-1', order });
      return nodeOf(after(ordered, { ...end, outcome }), 'node-1').state.phase;
    };
    assert.deepEqual(['0b1', '0a1', '0c1'].map(phaseAt), ['done', 'rolled_back', 'skipped']);
  });

  test('keeps a failed node from being tried again while it is under way', () => {
    const { plan } = samplePlan({
      nodes: [sampleNode('node-1', '0a1')],
      to: '0b1',
      policy: { rollbackOnFailure: false },
    });
    const start = { kind: 'start', id: 'u', plan, by: 'op', requestId: 'r' } as const;
    let { world } = play(play(emptyWorld, start).world, seen('node-1'), { kind: 'adopted', node: 'node-1' });
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
        inMaintenance: false,
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
