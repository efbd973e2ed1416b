/**
 * Guarantee 1 for zones and groups, told from one step, and counted apart from the engine's own count: never
 * more slots of one zone than may be, and no slot is taken that leaves less of a group serving than it needs.
 */
import assert from 'node:assert/strict';
import { isStuck } from '../../controller/rollout/budget.js';
import type { NodeView, QuorumGroup, World } from '../../controller/rollout/world.js';

/** @param before the world as it was stored last, whose holders keep what they have */
export function checkSpread(before: World, after: World): void {
  const had = new Set([...before.slots.values()].map(({ node }) => node));
  const taken = [...after.slots].filter(([key, { node }]) => !isStuck(key) && !had.has(node));
  const nodes = taken.map(([, { node }]) => node);
  checkZones(after, nodes);
  for (const group of after.spread.groups) checkGroup(after, group, nodes);
}

function checkZones(world: World, taken: readonly string[]): void {
  const { maxPerZone, zoneLabel } = world.spread;
  if (maxPerZone === null) return;
  const zoneOf = (node: string): string => world.labels.get(node)?.[zoneLabel] ?? '';
  const inZone = (zone: string, withStuck: boolean): string[] =>
    [...world.slots]
      .filter(([key, { node }]) => zoneOf(node) === zone && (withStuck || !isStuck(key)))
      .map(([key]) => key);
  for (const zone of new Set([...world.slots.values()].map(({ node }) => zoneOf(node)))) {
    const held = inZone(zone, false);
    assert.ok(held.length <= maxPerZone, `${held.length} of ${maxPerZone} slots of zone ${zone}: ${held}`);
  }
  if (isGoingBack(world)) return;
  for (const node of taken) {
    const held = inZone(zoneOf(node), true);
    assert.ok(held.length <= maxPerZone, `${node} goes out beside those of its zone: ${held}`);
  }
}

/** There a node that waits for an operator holds up no other of its zone. */
function isGoingBack({ rollout }: World): boolean {
  return rollout?.course.kind === 'back' || rollout?.plan.header.direction === 'back';
}

function checkGroup(
  world: World,
  { name, labels, minAvailable }: QuorumGroup,
  taken: readonly string[],
): void {
  const members = [...world.labels]
    .filter(([, its]) => Object.entries(labels).every(([label, value]) => its[label] === value))
    .map(([node]) => node);
  const out = new Set([...world.slots.values()].map(({ node }) => node));
  const serving = members.filter((node) => !out.has(node) && serves(world.views.get(node)));
  for (const node of taken.filter((one) => members.includes(one) && !isDown(world.views.get(one))))
    assert.ok(
      serving.length >= minAvailable,
      `${node} goes out, and of group ${name}, which needs ${minAvailable}, only these serve: ${serving}`,
    );
}

function serves(view: NodeView | undefined): boolean {
  return view?.reachable === true && view.health === 'healthy' && view.inMaintenance !== true;
}

/** It is known to serve nobody: taking it out takes nothing away. */
function isDown(view: NodeView | undefined): boolean {
  return view?.reachable === true && (view.health === 'unhealthy' || view.inMaintenance === true);
}
