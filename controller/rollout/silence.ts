/**
 * How long nodes could not be reached. Only the time that a leader has watched counts, and none of it
 * while the rollout is paused (protocol, rules 30 and 31). What was counted is stored from time to time,
 * so that leaders that die one after another do not begin at nothing each time.
 */
import { withNode, withNodes } from './change.js';
import type { Milliseconds, RolloutNode, Silence } from './rollout.js';
import type { World } from './world.js';

/** Stored so often while a node is silent: the most that a change of leader can lose of its time. */
const partsOfBound = 10;

/** Milliseconds that a node has been silent, as far as they count; 0 when it is in reach. */
export function silentForMs(world: World, node: RolloutNode, nowMs: number): Milliseconds {
  const { silence } = node;
  if (silence === null) return 0;
  return isPaused(world) ? silence.countedMs : silence.countedMs + passedMs(silence, nowMs);
}

/** A node that cannot be reached, from now on or since before. */
export function withSilence(world: World, id: string, nowMs: number): World {
  if (world.rollout?.nodes.get(id)?.silence) return world;
  return withNode(world, id, { silence: { sinceMs: nowMs, countedMs: 0, countedAtMs: nowMs } }, nowMs);
}

/** Enters what has passed, when a tenth of the bound has; the same world when nothing is to be entered. */
export function countSilence(world: World, nowMs: number): World {
  const { rollout } = world;
  if (rollout === undefined || isPaused(world)) return world;
  const stepMs = rollout.plan.header.policy.unknownMaxMs / partsOfBound;
  const isDue = ({ countedAtMs }: Silence, node: RolloutNode): boolean =>
    !isLeft(node) && nowMs - countedAtMs > stepMs;
  return withCounted(world, isDue, nowMs);
}

/** Stops the clocks when the rollout was paused in this step, and lets them go on when it was resumed. */
export function withClocks(before: World, after: World, nowMs: number): World {
  if (before.rollout === undefined || after.rollout?.id !== before.rollout.id) return after;
  if (isPaused(before) === isPaused(after)) return after;
  return isPaused(after) ? withCounted(after, () => true, nowMs) : withClocksFrom(after, nowMs);
}

/** What nobody watched does not count: the clocks of silent nodes go on from here at the earliest. */
export function withClocksFrom(world: World, fromMs: number): World {
  return withSilences(world, (silence) =>
    silence.countedAtMs >= fromMs ? silence : { ...silence, countedAtMs: fromMs },
  );
}

/** The clock of the leader that counted last may have been ahead of this one's. */
function passedMs({ countedAtMs }: Silence, nowMs: number): Milliseconds {
  return Math.max(0, nowMs - countedAtMs);
}

/** Nobody waits for it any more: its silence costs no writes. */
function isLeft({ state: { phase } }: RolloutNode): boolean {
  return phase === 'skipped' || phase === 'rolled_back' || phase === 'rollback_failed';
}

function isPaused({ rollout }: World): boolean {
  return rollout?.course.kind === 'paused';
}

function withCounted(
  world: World,
  isDue: (silence: Silence, node: RolloutNode) => boolean,
  nowMs: number,
): World {
  return withSilences(world, (silence, node) => {
    if (!isDue(silence, node)) return silence;
    const { sinceMs, countedMs } = silence;
    return { sinceMs, countedMs: countedMs + passedMs(silence, nowMs), countedAtMs: nowMs };
  });
}

function withSilences(world: World, change: (silence: Silence, node: RolloutNode) => Silence): World {
  const changed = new Map<string, RolloutNode>();
  for (const node of world.rollout?.nodes.values() ?? []) {
    const silence = node.silence === null ? null : change(node.silence, node);
    if (silence !== node.silence) changed.set(node.id, { ...node, silence });
  }
  return withNodes(world, changed);
}
