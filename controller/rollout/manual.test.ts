/**
 * Maintenance by hand, and wishes that wait: what an operator asked for is not overtaken by what a
 * node said before, nor by a node that starts.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { advance } from './advance.js';
import { emptyWorld } from './empty-world.test.part.js';
import type { EngineEvent, Observation } from './events.js';
import type { World } from './world.js';

const seen = (inMaintenance: boolean): EngineEvent => {
  const observation: Observation = {
    health: 'healthy',
    healthReason: '',
    goodForMs: 1,
    release: null,
    inMaintenance,
  };
  return { kind: 'observed', node: 'node-1', observation };
};
const wish = (on: boolean): EngineEvent => ({ kind: 'maintenance', node: 'node-1', on, reason: 'disk' });
const done = (commandId: string): EngineEvent => ({
  kind: 'finished',
  node: 'node-1',
  commandId,
  outcome: {
    outcome: 'done',
    failure: null,
    failedStep: '',
    release: { version: '', digest: '' },
    problems: [],
    backupId: '',
    inMaintenance: false,
  },
});

function play(world: World, events: readonly EngineEvent[], nowMs: number) {
  const after = advance(world, events, nowMs);
  const sent = after.effects.flatMap((effect) => (effect.kind === 'send' ? [effect.command.id] : []));
  return { world: after.world, sent };
}

test('off, wished before the node said that it is out, frees the slot only once the node was put back', () => {
  const out = play(emptyWorld, [seen(false), { kind: 'adopted', node: 'node-1' }, wish(true)], 1);
  const [into = ''] = out.sent;
  assert.match(into, /^maintenance\.node-1\./);

  const off = play(out.world, [wish(false)], 2);
  assert.deepEqual(
    [off.sent, [...off.world.slots.keys()]],
    [[], ['0']],
    'the first command is still under way',
  );

  const back = play(off.world, [done(into)], 3);
  assert.equal(back.sent.length, 1);
  assert.notEqual(back.sent[0], into);
  assert.equal(back.world.slots.size, 1, 'the node is out until it was put back');

  const freed = play(back.world, [done(back.sent[0] ?? '')], 4);
  assert.equal(freed.world.slots.size, 0);
});

test('a command that failed, or was refused, is not repeated by itself; said again, it is another one', () => {
  const failed = (commandId: string): EngineEvent => {
    const failure = { code: 'HOOK_FAILED', message: 'the hook ended with 1' };
    const event = done(commandId);
    assert.ok(event.kind === 'finished');
    return { ...event, outcome: { ...event.outcome, outcome: 'failed', failure } };
  };
  const refused = (commandId: string): EngineEvent => {
    const fault = { code: 'LIMIT_EXCEEDED', message: 'the journal is full' };
    return { kind: 'refused', node: 'node-1', commandId, fault };
  };
  const out = play(emptyWorld, [seen(false), { kind: 'adopted', node: 'node-1' }, wish(true)], 1);
  const [first = ''] = out.sent;
  const after = play(out.world, [failed(first)], 2);
  assert.deepEqual([after.sent, after.world.slots.get('0')?.reason], [[], 'the hook ended with 1']);
  assert.deepEqual(play(after.world, [{ kind: 'tick' }], 60_000).sent, []);

  const again = play(after.world, [wish(true)], 3);
  const [second = ''] = again.sent;
  assert.notEqual(second, first);
  assert.deepEqual([...again.world.slots].length, 1);
  assert.equal(again.world.slots.get('0')?.reason, 'disk');

  const late = play(again.world, [failed(first)], 4);
  assert.equal(
    late.world.slots.get('0')?.maintenance?.failed,
    false,
    'the end of the first one says nothing',
  );
  const over = play(late.world, [refused(second)], 5);
  assert.equal(over.world.slots.get('0')?.maintenance?.failed, true);
  assert.equal(over.world.slots.get('0')?.reason, 'the journal is full');
});

test('a node that is out is adopted before it is sent anything, and its command goes out again after a break', () => {
  const out = play(emptyWorld, [seen(false), { kind: 'adopted', node: 'node-1' }, wish(true)], 1);
  const [into = ''] = out.sent;
  const silent = play(out.world, [{ kind: 'unreachable', node: 'node-1' }], 2);
  assert.deepEqual(silent.sent, []);
  const back = advance(silent.world, [seen(false)], 3);
  assert.deepEqual(back.effects, [{ kind: 'adopt', node: 'node-1' }]);
  assert.deepEqual(play(back.world, [{ kind: 'adopted', node: 'node-1' }], 4).sent, [into]);
});

test('a node that is out, and has no slot, is put back all the same', () => {
  const off = play(emptyWorld, [seen(true), { kind: 'adopted', node: 'node-1' }, wish(false)], 1);
  assert.equal(off.world.slots.get('0')?.maintenance?.wanted, 'out');
  const [command = ''] = off.sent;
  assert.equal(play(off.world, [done(command)], 2).world.slots.size, 0);
  const serves = play(emptyWorld, [seen(false), wish(false)], 1);
  assert.deepEqual([serves.sent, serves.world.slots.size], [[], 0]);
});

test('an operator cannot take more nodes out than the budget has', () => {
  const out = play(emptyWorld, [seen(false), wish(true)], 1).world;
  const other = { kind: 'maintenance', node: 'node-2', on: true, reason: 'disk' } as const;
  assert.deepEqual(
    [...play(out, [other], 2).world.slots.values()].map(({ node }) => node),
    ['node-1'],
  );
});

test('a command that is under way on the node is waited for', () => {
  const busy = play(emptyWorld, [seen(false), { kind: 'adopted', node: 'node-1' }], 1);
  const view = busy.world.views.get('node-1');
  assert.ok(view);
  const views = new Map([['node-1', { ...view, inFlight: 'update.node-1.stage.1' }]]);
  const wished = play({ ...busy.world, views }, [wish(true)], 2);
  assert.deepEqual(wished.sent, []);
  assert.equal(wished.world.slots.size, 1);
});
