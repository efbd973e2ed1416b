/** Slots keep their places within one decision, since two that change places could not be stored in any order. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { advance } from './advance.js';
import { withSamePlaces } from './budget.js';
import { emptyWorld } from './empty-world.test.part.js';
import type { Slot } from './world.js';

function slots(...places: (readonly [key: string, node: string])[]): ReadonlyMap<string, Slot> {
  const slot = { reason: '', rollout: 'u', term: '7', sinceMs: 1, maintenance: null };
  return new Map(places.map(([key, node]) => [key, { ...slot, node }]));
}

function placesOf(all: ReadonlyMap<string, Slot>): string[] {
  return [...all].map(([key, { node }]) => `${key}: ${node}`).sort();
}

test('a node that freed its index and took another is put back at the one it had', () => {
  const before = slots(['0', 'node-1'], ['1', 'node-2'], ['2', 'node-3']);
  const exchanged = slots(['0', 'node-2'], ['1', 'node-1'], ['2', 'node-3']);
  assert.deepEqual(placesOf(withSamePlaces(before, exchanged)), placesOf(before));
  const moved = slots(['0', 'node-2'], ['2', 'node-3']);
  assert.deepEqual(placesOf(withSamePlaces(before, moved)), ['1: node-2', '2: node-3']);
});

test('one that is kept apart, or was freed, stays where it is now', () => {
  const before = slots(['0', 'node-1'], ['1', 'node-2']);
  const apart = slots(['stuck-node-1', 'node-1']);
  assert.deepEqual(placesOf(withSamePlaces(before, apart)), ['stuck-node-1: node-1']);
});

test('without a rollout the configured budget is in force, whatever stood in etcd', () => {
  const { configuredMax, budget } = emptyWorld;
  const stored = { max: configuredMax + 3, generation: 7 };
  const { world } = advance({ ...emptyWorld, budget: stored }, [], 0);
  assert.deepEqual(world.budget, { max: configuredMax, generation: 8 });
  assert.equal(advance(emptyWorld, [], 0).world.budget, budget);
});
