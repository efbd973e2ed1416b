/** Zones and groups: what may be out at the same time, and what is not known counts as down. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { withView } from './change.js';
import { emptyWorld } from './empty-world.test.part.js';
import { whyNotOut } from './spread.js';
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

describe('zones', () => {
  const zones = { a: { zone: 'x' }, b: { zone: 'x' }, c: { zone: 'y' }, d: {}, e: {} };
  const world = clusterOf({ maxPerZone: 1 }, zones);

  test('one of each may be out, and the reason names the one that is', () => {
    assert.equal(whyNotOut(world, 'a'), undefined);
    const keeping = whyNotOut(out(world, 'b'), 'a');
    assert.match(keeping?.reason ?? '', /^1 of 1 nodes .*\(zone x: b\)$/);
    assert.equal(whyNotOut(out(world, 'b'), 'c'), undefined);
    assert.equal(whyNotOut(out(world, 'b', 'stuck-b'), 'a')?.reason, keeping?.reason);
  });

  test('a node that is down counts like one that is out; so does one that nobody can reach', () => {
    for (const change of [{ health: 'unhealthy' }, { reachable: false }, { health: 'unknown' }] as const)
      assert.match(whyNotOut(withView(world, 'b', change), 'a')?.reason ?? '', /zone x: b/);
    assert.match(whyNotOut(withView(world, 'b', { inMaintenance: true }), 'a')?.reason ?? '', /zone x: b/);
  });

  test('nodes that do not say where they are count as one zone, and one without a record stays', () => {
    assert.match(whyNotOut(out(world, 'd'), 'e')?.reason ?? '', /no label zone: d/);
    assert.match(whyNotOut(world, 'nobody')?.reason ?? '', /labels are not known/);
  });

  test('two may be out where two are allowed', () => {
    const two = clusterOf({ maxPerZone: 2 }, { a: { zone: 'x' }, b: { zone: 'x' }, c: { zone: 'x' } });
    assert.equal(whyNotOut(out(two, 'b'), 'a'), undefined);
    assert.match(whyNotOut(out(out(two, 'b'), 'c'), 'a')?.reason ?? '', /^2 of 2 .*b, c/);
  });

  test('one that is down itself may be taken out, since that takes nothing away', () => {
    const ill = withView(out(world, 'b'), 'a', { health: 'unhealthy' });
    assert.equal(whyNotOut(ill, 'a'), undefined);
    assert.notEqual(whyNotOut(withView(out(world, 'b'), 'a', { health: 'unknown' }), 'a'), undefined);
  });
});

describe('groups', () => {
  const db = { role: 'db' };
  const groups = [{ name: 'db', labels: db, minAvailable: 2 }];
  const world = clusterOf({ groups }, { a: db, b: db, c: { ...db, zone: 'x' }, web: { role: 'web' } });

  test('so many of a group must serve, and others do not matter to it', () => {
    assert.equal(whyNotOut(world, 'a'), undefined);
    assert.equal(whyNotOut(out(world, 'web'), 'a'), undefined);
    const { reason = '' } = whyNotOut(out(world, 'b'), 'a') ?? {};
    assert.equal(reason, 'group db needs 2 of its 3 nodes, and 1 would be left; b is out or down');
    assert.equal(whyNotOut(out(world, 'b'), 'web'), undefined);
  });

  test('a member that is down, unknown or stuck is none that serves', () => {
    for (const change of [{ health: 'unhealthy' }, { health: 'unknown' }, { reachable: false }] as const)
      assert.notEqual(whyNotOut(withView(world, 'c', change), 'a'), undefined);
    assert.notEqual(whyNotOut(out(world, 'c', 'stuck-c'), 'a'), undefined);
  });

  test('a member that has all its labels belongs, one that lacks one does not', () => {
    const narrow = [{ name: 'db-x', labels: { role: 'db', zone: 'x' }, minAvailable: 1 }];
    const few = clusterOf({ groups: narrow }, { a: db, c: { ...db, zone: 'x' } });
    assert.equal(whyNotOut(few, 'a'), undefined);
    assert.match(whyNotOut(few, 'c')?.reason ?? '', /needs 1 of its 1 nodes, and 0 would be left$/);
  });

  test('nothing is limited where nothing is configured', () => {
    assert.equal(whyNotOut(out(clusterOf({}, { a: {}, b: {} }), 'b'), 'a'), undefined);
    assert.equal(whyNotOut(emptyWorld, 'nobody'), undefined);
  });
});
