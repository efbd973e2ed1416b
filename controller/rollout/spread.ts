/**
 * What limits which nodes may be out of service at the same time, beside their number: so many of one
 * zone at the most, and groups of which so many must serve. A node that is down already counts like one
 * that is taken out, and what is not known counts as down (semantics S15, protocol rules 17 and 18).
 */
import { slotOf } from './budget.js';
import { viewOf } from './change.js';
import type { Labels, QuorumGroup, World } from './world.js';

/** Why a node may not be taken out of service now, and what would let it. */
export interface Keeping {
  readonly reason: string;
  readonly unblock: string;
}

/**
 * Whether a node may be taken out beside those that are out or down; undefined: it may. One that is known to
 * be down itself may always be.
 */
export function whyNotOut(world: World, node: string): Keeping | undefined {
  const { maxPerZone, groups } = world.spread;
  if ((maxPerZone === null && groups.length === 0) || isDown(world, node)) return undefined;
  const labels = world.labels.get(node);
  if (labels === undefined)
    return {
      reason: 'its labels are not known, so its zone and its groups are not',
      unblock: 'its registration',
    };
  return zoneKeeps(world, node, labels) ?? groupKeeps(world, node, labels);
}

/** Whether a node belongs to a group, by its labels. */
export function isMember(group: QuorumGroup, labels: Labels): boolean {
  return Object.entries(group.labels).every(([name, value]) => labels[name] === value);
}

function zoneKeeps(world: World, node: string, labels: Labels): Keeping | undefined {
  const { maxPerZone, zoneLabel } = world.spread;
  if (maxPerZone === null) return undefined;
  // Nodes that do not say where they are may all be in one place.
  const zone = labels[zoneLabel] ?? '';
  const out = [...world.labels]
    .filter(([other, itsLabels]) => other !== node && (itsLabels[zoneLabel] ?? '') === zone)
    .map(([other]) => other)
    .filter((other) => !serves(world, other));
  if (out.length < maxPerZone) return undefined;
  const where = zone === '' ? `no label ${zoneLabel}` : `zone ${zone}`;
  return {
    reason: `${out.length} of ${maxPerZone} nodes that may be out in one zone are (${where}: ${out.join(', ')})`,
    unblock: `one of them serves again`,
  };
}

function groupKeeps(world: World, node: string, labels: Labels): Keeping | undefined {
  for (const group of world.spread.groups) {
    if (!isMember(group, labels)) continue;
    const members = [...world.labels].filter(([, its]) => isMember(group, its)).map(([id]) => id);
    const left = members.filter((id) => id !== node && serves(world, id));
    if (left.length >= group.minAvailable) continue;
    const down = members.filter((id) => id !== node && !left.includes(id));
    const others =
      down.length === 0 ? '' : `; ${down.join(', ')} ${down.length === 1 ? 'is' : 'are'} out or down`;
    return {
      reason: `group ${group.name} needs ${group.minAvailable} of its ${members.length} nodes, and ${left.length} would be left${others}`,
      unblock: 'the others of the group serve again',
    };
  }
  return undefined;
}

/** Known to be out, or ill: taking it out takes nothing away. */
function isDown(world: World, node: string): boolean {
  const { reachable, health, inMaintenance } = viewOf(world, node);
  return (
    slotOf(world.slots, node) !== undefined ||
    (reachable && (health === 'unhealthy' || inMaintenance === true))
  );
}

/** Known to be up, and not out because of us. */
function serves(world: World, node: string): boolean {
  const { reachable, health, inMaintenance } = viewOf(world, node);
  return (
    slotOf(world.slots, node) === undefined && reachable && health === 'healthy' && inMaintenance !== true
  );
}
