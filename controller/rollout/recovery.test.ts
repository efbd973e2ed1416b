/**
 * What the engine does after a restore of etcd: nothing while it is only noticed; then every node is adopted,
 * and what an agent says of itself makes the slot that etcd has lost (protocol, rule 21).
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  begun,
  finished,
  nodeOf,
  rolling,
  observed as sampled,
} from '../../test/scenarios/paper-rollout.test.part.js';
import { releaseAt } from '../../test/scenarios/sample-plan.test.part.js';
import { advance } from './advance.js';
import { freeIndex } from './budget.js';
import { emptyWorld } from './empty-world.test.part.js';
import type { AdoptionReport, EngineEvent, Observation } from './events.js';
import type { Slot, World } from './world.js';

const nowMs = 1_000_000;
const seen: Observation = {
  health: 'healthy',
  healthReason: '',
  goodForMs: 0,
  release: null,
  inMaintenance: false,
};
const idle: AdoptionReport = { inMaintenance: false, needsOperator: '', jobs: [] };

function awaiting(...nodes: string[]): World {
  return { ...emptyWorld, recovery: { kind: 'adopting', epoch: '9', awaited: new Set(nodes) } };
}

function observed(node: string): EngineEvent {
  return { kind: 'observed', node, observation: seen };
}

function adopted(node: string, report: Partial<AdoptionReport>): EngineEvent {
  return { kind: 'adopted', node, report: { ...idle, ...report } };
}

function after(world: World, ...events: EngineEvent[]): World {
  return advance(world, events, nowMs).world;
}

function manualSlot(node: string): Slot {
  const maintenance = { wanted: 'in', attempt: 1, reason: 'a disk', failed: false, done: true } as const;
  return { node, reason: 'a disk', rollout: '', term: '3', sinceMs: 5, maintenance };
}

function slotsOf(world: World): string[] {
  return [...world.slots].map(([key, { node }]) => `${key}: ${node}`);
}

describe('a restore that was noticed', () => {
  const refused = after(awaiting('node-1'), { kind: 'restored', reason: 'node-1 knows more' });

  test('is kept, and sends nothing, whatever is heard of the nodes', () => {
    assert.deepEqual(refused.recovery, { kind: 'refused', reason: 'node-1 knows more' });
    const out = { ...refused, slots: new Map([['0', manualSlot('node-1')]]) };
    const { effects, world } = advance(out, [observed('node-1'), { kind: 'tick' }], nowMs);
    assert.deepEqual(effects, []);
    assert.deepEqual(slotsOf(world), ['0: node-1']);
  });

  test('keeps its first reason', () => {
    const again = after(refused, { kind: 'restored', reason: 'another one' });
    assert.deepEqual(again.recovery, refused.recovery);
  });
});

describe('while nodes are awaited', () => {
  test('those that are out are adopted first, then the others, all at once, and each only once', () => {
    const world = {
      ...awaiting('node-1', 'node-2', 'node-3'),
      slots: new Map([['0', manualSlot('node-3')]]),
    };
    const first = advance(world, ['node-1', 'node-2', 'node-3'].map(observed), nowMs);
    assert.deepEqual(
      first.effects.map(({ kind, node }) => `${kind} ${node}`),
      ['adopt node-3', 'adopt node-1', 'adopt node-2'],
    );
    assert.deepEqual(advance(first.world, [{ kind: 'tick' }], nowMs).effects, []);
  });

  test('a node that cannot be reached is not asked, and goes on being awaited', () => {
    const { effects, world } = advance(awaiting('node-1'), [{ kind: 'unreachable', node: 'node-1' }], nowMs);
    assert.deepEqual(effects, []);
    assert.deepEqual(world.recovery, awaiting('node-1').recovery);
  });

  test('no operator takes a slot', () => {
    const wish = { kind: 'maintenance', node: 'node-2', on: true, reason: 'a disk' } as const;
    assert.deepEqual(slotsOf(after(awaiting('node-1'), wish)), []);
    assert.deepEqual(slotsOf(after(emptyWorld, wish)), ['0: node-2']);
  });

  test('the last adoption, and the last removal, end it', () => {
    const one = after(awaiting('node-1', 'node-2'), adopted('node-1', {}));
    assert.deepEqual(one.recovery, awaiting('node-2').recovery);
    assert.equal(after(one, adopted('node-2', {})).recovery, null);
    assert.equal(after(one, { kind: 'removed', node: 'node-2' }).recovery, null);
    assert.equal(after(awaiting(), { kind: 'tick' }).recovery, null, 'a cluster without nodes');
  });

  test('a node that joins is awaited too', () => {
    const joined = after(awaiting('node-1'), { kind: 'joined', node: 'node-2' });
    assert.deepEqual(joined.recovery, awaiting('node-1', 'node-2').recovery);
    assert.equal(
      after(emptyWorld, { kind: 'joined', node: 'node-2' }).recovery,
      null,
      'at any other time it is not',
    );
  });
});

describe('a rollout that goes on behind a restore', () => {
  const recovery = awaiting('node-1', 'node-2').recovery;

  test('starts no node, and takes none back, before all were adopted; why says so', () => {
    const staged = { ...rolling(2), slots: new Map<string, Slot>(), recovery };
    const ready = after(staged, finished('node-1', 'upgrade'));
    assert.equal(nodeOf(ready, 'node-2').state.phase, 'ready');
    const [reason] = nodeOf(ready, 'node-2').waitingOn;
    assert.equal(reason?.reason, 'etcd was restored, and not every node was adopted since');

    const good = sampled('node-1', { release: releaseAt('0b1') });
    const done = after(rolling(2, { soakMs: 0 }), finished('node-1', 'upgrade'), good);
    assert.equal(nodeOf(done, 'node-1').state.phase, 'done');
    const wish = { kind: 'abort', rollback: true, reason: 'no' } as const;
    const back = after({ ...done, recovery }, { kind: 'wish', wish });
    assert.equal(nodeOf(back, 'node-1').state.phase, 'done');
    const adopted = after(back, { kind: 'removed', node: 'node-2' }, { kind: 'adopted', node: 'node-1' });
    assert.equal(adopted.recovery, null);
    assert.equal(nodeOf(adopted, 'node-1').state.phase, 'rolling_back');
  });

  test('a node that needs an operator is not upgraded on the slot that is kept apart for it; why says so', () => {
    const ready = { ...rolling(2, { failureBudget: 1 }), recovery };
    const needsOperator = 'its rollback failed';
    const stuck = after(ready, adopted('node-1', {}), adopted('node-2', { needsOperator }));
    assert.deepEqual(slotsOf(stuck), ['0: node-1', 'stuck-node-2: node-2']);
    assert.equal(nodeOf(stuck, 'node-2').state.phase, 'ready');
    const free = after(stuck, finished('node-1', 'upgrade', { outcome: 'rolled_back' }));
    assert.equal(nodeOf(free, 'node-2').state.phase, 'ready');
    assert.equal(nodeOf(free, 'node-2').waitingOn[0]?.reason, 'it needs an operator');
  });

  test('a node that needs an operator, and that the rest waits for, pauses the rollout, which says so', () => {
    const ready = { ...rolling(2), recovery };
    const needsOperator = 'its rollback failed';
    const stuck = after(ready, adopted('node-1', {}), adopted('node-2', { needsOperator }));
    const soaked = sampled('node-1', { release: releaseAt('0b1'), goodForMs: 60_000 });
    const world = after(after(stuck, finished('node-1', 'upgrade')), soaked);
    assert.equal(nodeOf(world, 'node-1').state.phase, 'done');
    assert.equal(world.rollout?.course.kind, 'paused');
    assert.match(world.rollout?.reason ?? '', /node-2 must be looked after by an operator first/);
  });

  test('tells every node that has not ended what is to be said once the restore was noticed', () => {
    const noticed = after(begun(1), { kind: 'restored', reason: 'node-1 knows more' });
    const [reason] = nodeOf(noticed, 'node-1').waitingOn;
    assert.equal(reason?.reason, 'node-1 knows more');
    assert.equal(reason?.unblock, 'plexictl cluster re-epoch');
  });

  test('is sent the upgrade again that the agent knows and etcd has lost, under the same id', () => {
    const lost = { ...begun(2), recovery };
    assert.equal(nodeOf(lost, 'node-1').state.phase, 'preflight');
    const jobs = [
      job('u.node-1.upgrade.1', 'u', true),
      { ...job('u.node-1.upgrade.2', 'u', false), attempt: 2 },
    ];
    const { world, effects } = advance(lost, [adopted('node-1', { jobs })], nowMs);
    const command = { kind: 'upgrade', id: 'u.node-1.upgrade.2', attempt: 2 };
    assert.deepEqual(nodeOf(world, 'node-1').state, { phase: 'entering_maintenance', command });
    assert.equal(nodeOf(world, 'node-1').attempts.upgrade, 2);
    assert.deepEqual(slotsOf(world), ['0: node-1']);
    assert.deepEqual(
      effects.filter(({ kind }) => kind === 'send'),
      [{ kind: 'send', node: 'node-1', command }],
    );
  });

  test('takes up nothing of another rollout, nor what etcd knows', () => {
    const lost = { ...begun(2), recovery };
    const other = after(lost, adopted('node-1', { jobs: [job('v.node-1.upgrade.1', 'v', true)] }));
    assert.equal(nodeOf(other, 'node-1').state.phase, 'preflight');
    const known = { ...rolling(2), recovery };
    const again = after(known, adopted('node-1', { jobs: [job('u.node-1.upgrade.1', 'u', false)] }));
    assert.deepEqual(nodeOf(again, 'node-1').state, nodeOf(known, 'node-1').state);
    assert.deepEqual(slotsOf(again), ['0: node-1']);
  });
});

describe('the slot that an agent speaks of', () => {
  const cases: [says: string, report: Partial<AdoptionReport>, slots: string[]][] = [
    ['it serves', {}, []],
    ['an upgrade is under way', { jobs: [job('u.node-1.upgrade.1', 'u', false)] }, ['stuck-node-1: node-1']],
    [
      'it is in maintenance since an upgrade',
      { inMaintenance: true, jobs: [job('u.node-1.upgrade.1', 'u', true)] },
      ['stuck-node-1: node-1'],
    ],
    ['it needs an operator', { needsOperator: 'its way back failed' }, ['stuck-node-1: node-1']],
    ['it is in maintenance, and does not say why', { inMaintenance: true }, ['stuck-node-1: node-1']],
    [
      'an operator has it in maintenance',
      { inMaintenance: true, jobs: [job('maintenance.node-1.5.1', '', true)] },
      ['0: node-1'],
    ],
    ['an order to take it over is open', { jobs: [job('adopt.node-1.5', '', false)] }, []],
    ['its upgrade has ended', { jobs: [job('u.node-1.upgrade.1', 'u', true)] }, []],
  ];
  for (const [says, report, slots] of cases)
    test(`${says}: ${slots.join() || 'none'}`, () => {
      assert.deepEqual(slotsOf(after(awaiting('node-1', 'node-2'), adopted('node-1', report))), slots);
      assert.deepEqual(slotsOf(after(emptyWorld, adopted('node-1', report))), [], 'only after a restore');
    });

  test('is above the budget where it must be', () => {
    const full = { ...awaiting('node-1', 'node-2'), slots: new Map([['0', manualSlot('node-2')]]) };
    const report = { inMaintenance: true, jobs: [job('maintenance.node-1.5.1', '', true)] };
    assert.deepEqual(slotsOf(after(full, adopted('node-1', report))), ['0: node-2', '1: node-1']);
  });

  test("an operator's, which was given back after the snapshot, is free; one in force, or not begun, stays", () => {
    const world = { ...awaiting('node-1', 'node-2'), slots: new Map([['0', manualSlot('node-1')]]) };
    const on = job('maintenance.node-1.5.1', '', true);
    assert.deepEqual(slotsOf(after(world, adopted('node-1', { jobs: [on] }))), []);
    assert.deepEqual(slotsOf(after(world, adopted('node-1', { inMaintenance: true, jobs: [on] }))), [
      '0: node-1',
    ]);
    // Nothing but the word of its agent: a rollout had it since, or the journal has forgotten the command.
    assert.deepEqual(slotsOf(after(world, adopted('node-1', {}))), []);
    const slot = manualSlot('node-1');
    assert.ok(slot.maintenance);
    const begun = { ...slot, maintenance: { ...slot.maintenance, done: false } };
    const notBegun = { ...world, slots: new Map([['0', begun]]) };
    assert.deepEqual(slotsOf(after(notBegun, adopted('node-1', {}))), ['0: node-1']);
  });

  test('is told later, when an operator’s own command is under way on the node', () => {
    for (const commandId of ['maintenance.node-1.5.2', 'confirm.node-1.5']) {
      const between = { inMaintenance: true, jobs: [job(commandId, '', false, true)] };
      const asked = after(awaiting('node-1', 'node-2'), observed('node-1'), adopted('node-1', between));
      assert.deepEqual(slotsOf(asked), []);
      assert.deepEqual(advance(asked, [{ kind: 'tick' }], nowMs).effects, []);
      const later = advance(asked, [{ kind: 'tick' }], nowMs + 1_000).effects;
      assert.deepEqual(later, [{ kind: 'adopt', node: 'node-1' }]);
      assert.deepEqual(
        slotsOf(after(asked, adopted('node-1', { jobs: [job(commandId, '', true, true)] }))),
        [],
      );
    }
  });

  test('is of the rollout that went further than etcd remembers, and an operator’s after it', () => {
    const lost = job('u.node-1.upgrade.1', 'u', true, true);
    const world = { ...begun(2), recovery: awaiting('node-1', 'node-2').recovery };
    const { slots } = after(world, adopted('node-1', { inMaintenance: true, jobs: [lost] }));
    const [slot] = [...slots.values()].filter(({ node }) => node === 'node-1');
    assert.deepEqual([slot?.rollout, slot?.maintenance?.wanted], ['u', 'in']);
  });
});

function job(commandId: string, rollout: string, ended: boolean, foundInMaintenance = false) {
  return { commandId, rollout, attempt: 1, ended, foundInMaintenance };
}

describe('a node that joins under a leader', () => {
  const joined: EngineEvent = { kind: 'joined', node: 'node-9' };
  const out = (inMaintenance: boolean): EngineEvent => ({
    kind: 'observed',
    node: 'node-9',
    observation: { ...seen, inMaintenance },
  });
  const byHand = job('maintenance.node-9.5.1', '', true);
  const told = (change: Partial<AdoptionReport>): EngineEvent => adopted('node-9', change);

  test('is adopted before anything else, because only its journal tells why it is out', () => {
    const { effects } = advance(emptyWorld, [joined, out(true)], 10);
    assert.deepEqual(effects, [{ kind: 'adopt', node: 'node-9' }]);
    assert.deepEqual(advance(after(emptyWorld, joined, out(true), told({})), [out(true)], 20).effects, []);
  });

  test('and is in maintenance has its slot by its own word, also above the budget', () => {
    const held = { ...emptyWorld, slots: new Map([['0', manualSlot('node-1')]]) };
    // What was done to it while an operator had it out leaves it so, also where his word is no longer known.
    const upgraded = job('u.node-9.upgrade.1', 'u', true, true);
    for (const jobs of [[byHand], [], [byHand, upgraded], [upgraded]]) {
      const { slots } = after(held, joined, out(true), told({ inMaintenance: true, jobs }));
      assert.deepEqual(slots.get('0'), manualSlot('node-1'));
      assert.equal(slots.get('1')?.node, 'node-9');
      assert.match(slots.get('1')?.reason ?? '', /by its agent's word/);
      assert.equal(slots.size, 2);
    }
  });

  test('and is out since a job that found it in service is looked after by an operator', () => {
    const upgraded = job('u.node-9.upgrade.1', 'u', true);
    for (const jobs of [
      [byHand, upgraded],
      [upgraded, job('u.node-9.upgrade.2', 'u', false, true)],
    ])
      assert.deepEqual(slotsOf(after(emptyWorld, joined, out(true), told({ inMaintenance: true, jobs }))), [
        'stuck-node-9: node-9',
      ]);
  });

  test('and needs an operator still does', () => {
    const needsOperator = 'its rollback failed';
    const world = after(emptyWorld, joined, out(true), told({ needsOperator, inMaintenance: true }));
    assert.deepEqual(slotsOf(world), ['stuck-node-9: node-9']);
  });

  test('and cannot be adopted counts as out all the same', () => {
    const joining = after(emptyWorld, joined, out(true));
    const full = { ...joining, budget: { max: 1, generation: 1 } };
    assert.equal(freeIndex(full), undefined);
    assert.equal(freeIndex({ ...joining, budget: { max: 2, generation: 1 } }), '0');
    assert.equal(freeIndex(after(full, { kind: 'removed', node: 'node-9' })), '0');
  });

  test('is told as what a node waits for that the budget has no room for beside it', () => {
    const waiting = after(rolling(2), joined, out(true));
    assert.match(
      nodeOf(waiting, 'node-2').waitingOn[0]?.reason ?? '',
      /on node-9 too, which came to the list/,
    );
  });

  test('and asks for an operator while it serves holds nobody up', () => {
    const world = after(emptyWorld, joined, out(false), told({ needsOperator: 'its release is damaged' }));
    assert.deepEqual(slotsOf(world), []);
  });

  test('and serves has none, nor has it one when it goes out by itself later', () => {
    const serving = after(emptyWorld, joined, out(false), told({}));
    assert.equal(serving.slots.size, 0);
    assert.equal(after(serving, out(true)).slots.size, 0);
  });

  test('keeps the slot that it has', () => {
    const held = { ...emptyWorld, slots: new Map([['0', manualSlot('node-9')]]) };
    assert.deepEqual(after(held, joined, out(true), told({ inMaintenance: true })).slots, held.slots);
  });

  test('one that was there before has none by that', () => {
    assert.equal(after(emptyWorld, out(true)).slots.size, 0);
  });
});
