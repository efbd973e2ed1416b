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

test('a command that is under way on the node is waited for', () => {
  const busy = play(emptyWorld, [seen(false), { kind: 'adopted', node: 'node-1' }], 1);
  const view = busy.world.views.get('node-1');
  assert.ok(view);
  const views = new Map([['node-1', { ...view, inFlight: 'update.node-1.stage.1' }]]);
  const wished = play({ ...busy.world, views }, [wish(true)], 2);
  assert.deepEqual(wished.sent, []);
  assert.equal(wished.world.slots.size, 1);
});
