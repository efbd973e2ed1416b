/** Zones and groups: what may be out at the same time, and what is not known counts as down. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { withView } from './change.js';
import { emptyWorld } from './empty-world.test.part.js';
import { countSpread, type Keeping, whyNotOut } from './spread.js';
import type { Labels, NodeView, Slot, Spread, World } from './world.js';

const up: Partial<NodeView> = { reachable: true, health: 'healthy', inMaintenance: false };

/** A cluster of healthy nodes with these labels. */
function clusterOf(spread: Partial<Spread>, labels: Readonly<Record<string, Labels>>): World {
  const world: World = {
    ...emptyWorld,
    spread: { ...emptyWorld.spread, ...spread },
    labels: new Map(Object.entries(labels)),
  };
  return Object.keys(labels).reduce((before, node) => withView(before, node, up), world);
}

function out(world: World, node: string, key = node): World {
  const slot: Slot = { node, reason: '', rollout: 'u1', term: '7', sinceMs: 0, maintenance: null };
  return { ...world, slots: new Map([...world.slots, [key, slot]]) };
}

function keeps(world: World, node: string, goingBack = false): Keeping | undefined {
  return whyNotOut(countSpread(world, goingBack), node);
}

describe('zones', () => {
  const zones = { a: { zone: 'x' }, b: { zone: 'x' }, c: { zone: 'y' }, d: {}, e: {} };
  const world = clusterOf({ maxPerZone: 1 }, zones);

  test('one of each may be out, and the reason names the one that is', () => {
    assert.equal(keeps(world, 'a'), undefined);
    const keeping = keeps(out(world, 'b'), 'a');
    assert.match(keeping?.reason ?? '', /^1 of 1 nodes .*\(zone x: b\)$/);
    assert.equal(keeps(out(world, 'b'), 'c'), undefined);
    assert.equal(keeps(out(world, 'b', 'stuck-b'), 'a')?.reason, keeping?.reason);
  });

  test('a node that is down and that nobody took out holds its zone up no more than the budget', () => {
    for (const change of [
      { health: 'unhealthy' },
      { reachable: false },
      { health: 'unknown' },
      { inMaintenance: true },
    ] as const)
      assert.equal(keeps(withView(world, 'b', change), 'a'), undefined);
  });

  test('one that waits for an operator does not keep the others of its zone from going back', () => {
    assert.notEqual(keeps(out(world, 'b', 'stuck-b'), 'a'), undefined);
    assert.equal(keeps(out(world, 'b', 'stuck-b'), 'a', true), undefined);
    assert.notEqual(keeps(out(world, 'b'), 'a', true), undefined);
  });

  test('nodes that do not say where they are count as one zone, and one without a record stays', () => {
    assert.match(keeps(out(world, 'd'), 'e')?.reason ?? '', /no label zone: d/);
    assert.match(keeps(world, 'nobody')?.reason ?? '', /labels are not known/);
  });

  test('two may be out where two are allowed', () => {
    const two = clusterOf({ maxPerZone: 2 }, { a: { zone: 'x' }, b: { zone: 'x' }, c: { zone: 'x' } });
    assert.equal(keeps(out(two, 'b'), 'a'), undefined);
    assert.match(keeps(out(out(two, 'b'), 'c'), 'a')?.reason ?? '', /^2 of 2 .*b, c/);
  });

  test('one that is out already may stay out, one that is ill takes a place as any other', () => {
    assert.equal(keeps(out(out(world, 'b'), 'a'), 'a'), undefined);
    assert.notEqual(keeps(withView(out(world, 'b'), 'a', { health: 'unhealthy' }), 'a'), undefined);
  });
});

describe('groups', () => {
  const db = { role: 'db' };
  const groups = [{ name: 'db', labels: db, minAvailable: 2 }];
  const world = clusterOf({ groups }, { a: db, b: db, c: { ...db, zone: 'x' }, web: { role: 'web' } });

  test('so many of a group must serve, and others do not matter to it', () => {
    assert.equal(keeps(world, 'a'), undefined);
    assert.equal(keeps(out(world, 'web'), 'a'), undefined);
    const { reason = '' } = keeps(out(world, 'b'), 'a') ?? {};
    assert.equal(reason, 'group db needs 2 of its 3 nodes, and 1 would be left; b is out or down');
    assert.equal(keeps(out(world, 'b'), 'web'), undefined);
  });

  test('a member that is down, unknown or stuck is none that serves', () => {
    for (const change of [{ health: 'unhealthy' }, { health: 'unknown' }, { reachable: false }] as const)
      assert.notEqual(keeps(withView(world, 'c', change), 'a'), undefined);
    assert.notEqual(keeps(out(world, 'c', 'stuck-c'), 'a'), undefined);
  });

  test('one that is known to be down itself may be taken out, since that takes nothing away', () => {
    assert.equal(keeps(withView(out(world, 'b'), 'a', { health: 'unhealthy' }), 'a'), undefined);
    assert.equal(keeps(withView(out(world, 'b'), 'a', { inMaintenance: true }), 'a'), undefined);
    assert.notEqual(keeps(withView(out(world, 'b'), 'a', { health: 'unknown' }), 'a'), undefined);
  });

  test('a member that has all its labels belongs, one that lacks one does not', () => {
    const narrow = [{ name: 'db-x', labels: { role: 'db', zone: 'x' }, minAvailable: 1 }];
    const few = clusterOf({ groups: narrow }, { a: db, c: { ...db, zone: 'x' } });
    assert.equal(keeps(few, 'a'), undefined);
    assert.match(keeps(few, 'c')?.reason ?? '', /needs 1 of its 1 nodes, and 0 would be left$/);
  });

  test('nothing is limited where nothing is configured', () => {
    assert.equal(keeps(out(clusterOf({}, { a: {}, b: {} }), 'b'), 'a'), undefined);
    assert.equal(keeps(emptyWorld, 'nobody'), undefined);
  });
});
