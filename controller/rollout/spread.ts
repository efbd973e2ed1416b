/**
 * What limits which nodes may be out of service at the same time, beside their number: so many of one
 * zone at the most, and groups of which so many must serve. A zone counts what is out because of us, as the
 * budget does. A group counts what serves: a node that is down already is missing there like one that was
 * taken out, and what is not known counts as down (semantics S15, protocol rules 17 and 18).
 */
import { isStuck, slotOf } from './budget.js';
import { viewOf } from './change.js';
import type { Labels, QuorumGroup, World } from './world.js';

/** Why a node may not be taken out of service now, and what would let it. */
export interface Keeping {
  readonly reason: string;
  readonly unblock: string;
}

/** Where nodes are out and which serve, counted once for a decision about any of them. */
export interface SpreadCount {
  readonly world: World;
  /** Nodes that hold a slot, by zone; without a limit for zones none. */
  readonly outByZone: ReadonlyMap<string, readonly string[]>;
  readonly groups: readonly GroupCount[];
}

interface GroupCount {
  readonly group: QuorumGroup;
  readonly members: readonly string[];
  readonly down: ReadonlySet<string>;
}

/**
 * Counts zones and groups.
 * @param goingBack for the way back: nodes that wait for an operator do not block it by their zone
 */
export function countSpread(world: World, goingBack = false): SpreadCount {
  const { maxPerZone, groups } = world.spread;
  return {
    world,
    outByZone: maxPerZone === null ? new Map() : outByZone(world, goingBack),
    groups: groups.map((group) => countGroup(world, group)),
  };
}

/** Counts zones and groups as if every node that needs an operator served: what is to be had by his word. */
export function countSpreadPutRight(world: World): SpreadCount {
  const { outByZone, groups, ...rest } = countSpread(world, true);
  const stuck = new Set([...world.slots].flatMap(([key, { node }]) => (isStuck(key) ? [node] : [])));
  const serving = (down: ReadonlySet<string>) => new Set([...down].filter((id) => !stuck.has(id)));
  return { ...rest, outByZone, groups: groups.map((group) => ({ ...group, down: serving(group.down) })) };
}

/** Whether a node may be taken out beside those that are; undefined: it may. */
export function whyNotOut(count: SpreadCount, node: string): Keeping | undefined {
  const { world } = count;
  const { maxPerZone, groups } = world.spread;
  if ((maxPerZone === null && groups.length === 0) || slotOf(world.slots, node) !== undefined)
    return undefined;
  const labels = world.labels.get(node);
  if (labels === undefined)
    return {
      reason: 'its labels are not known, so its zone and its groups are not',
      unblock: 'its registration',
    };
  return zoneKeeps(count, labels) ?? groupKeeps(count, node);
}

/** Whether a node belongs to a group, by its labels. */
export function isMember(group: QuorumGroup, labels: Labels): boolean {
  return Object.entries(group.labels).every(([name, value]) => labels[name] === value);
}

function outByZone(world: World, goingBack: boolean): Map<string, string[]> {
  const zones = new Map<string, string[]>();
  for (const [key, { node }] of world.slots) {
    if (goingBack && isStuck(key)) continue;
    const zone = zoneOf(world, world.labels.get(node));
    zones.set(zone, [...(zones.get(zone) ?? []), node]);
  }
  return zones;
}

/** Nodes that do not say where they are may all be in one place. */
function zoneOf({ spread }: World, labels: Labels | undefined): string {
  return labels?.[spread.zoneLabel] ?? '';
}

function zoneKeeps({ world, outByZone }: SpreadCount, labels: Labels): Keeping | undefined {
  const { maxPerZone, zoneLabel } = world.spread;
  const zone = zoneOf(world, labels);
  const out = outByZone.get(zone) ?? [];
  if (maxPerZone === null || out.length < maxPerZone) return undefined;
  const where = zone === '' ? `no label ${zoneLabel}` : `zone ${zone}`;
  return {
    reason: `${out.length} of ${maxPerZone} nodes that may be out in one zone are (${where}: ${out.join(', ')})`,
    unblock: `one of them serves again`,
  };
}

function countGroup(world: World, group: QuorumGroup): GroupCount {
  const members = [...world.labels].filter(([, labels]) => isMember(group, labels)).map(([node]) => node);
  const out = new Set([...world.slots.values()].map(({ node }) => node));
  return { group, members, down: new Set(members.filter((id) => out.has(id) || !isServing(world, id))) };
}

function groupKeeps({ world, groups }: SpreadCount, node: string): Keeping | undefined {
  // Taking out what is known to be ill takes nothing away.
  if (isKnownDown(world, node)) return undefined;
  for (const { group, members, down } of groups) {
    if (!members.includes(node)) continue;
    const others = [...down].filter((id) => id !== node);
    const left = members.length - 1 - others.length;
    if (left >= group.minAvailable) continue;
    const who =
      others.length === 0 ? '' : `; ${others.join(', ')} ${others.length === 1 ? 'is' : 'are'} out or down`;
    return {
      reason: `group ${group.name} needs ${group.minAvailable} of its ${members.length} nodes, and ${left} would be left${who}`,
      unblock: 'the others of the group serve again',
    };
  }
  return undefined;
}

function isKnownDown(world: World, node: string): boolean {
  const { reachable, health, inMaintenance } = viewOf(world, node);
  return reachable && (health === 'unhealthy' || inMaintenance === true);
}

function isServing(world: World, node: string): boolean {
  const { reachable, health, inMaintenance } = viewOf(world, node);
  return reachable && health === 'healthy' && inMaintenance !== true;
}
