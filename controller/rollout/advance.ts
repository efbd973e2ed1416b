/**
 * The decision, as one pure function: what is known, what has happened, and the time, give what is
 * true now and what is to be done. The loop around it persists the first before it does the second.
 *
 * Everything is level-triggered: commands follow from the state, so a new leader that loads the same
 * state and looks at the same nodes goes on where the last one stopped.
 */
import { withSamePlaces } from './budget.js';
import { decide } from './course.js';
import { dueEffects } from './effects.js';
import type { Advance, EngineEvent } from './events.js';
import { countSilence, withClocks } from './silence.js';
import { takeEvent } from './take-event.js';
import { explainWaiting } from './why.js';
import type { World } from './world.js';

/**
 * Decisions in a row; more would be a loop. Some of them are for one node at a time, and where the budget is
 * large enough, each of many nodes has its own.
 */
const decisionsMax = { ofCluster: 50, ofEachNode: 10 };

/**
 * Takes one step after the other until a step changes nothing.
 * @throws Error when there are too many: the steps go round in a circle
 */
export function untilSettled<T>(start: T, step: (before: T) => T, stepsMax: number): T {
  let before = start;
  for (let count = 0; count <= stepsMax; count++) {
    const after = step(before);
    if (after === before) return after;
    before = after;
  }
  throw new Error('the engine decides in a circle');
}

/**
 * @param world what is persisted, and what this leader sees
 * @param events what happened, in order
 * @param nowMs the leader's clock, in milliseconds since 1970; never goes back
 */
export function advance(world: World, events: readonly EngineEvent[], nowMs: number): Advance {
  const heard = events.reduce(
    (before, event) => withClocks(before, takeEvent(before, event, nowMs), nowMs),
    countSilence(world, nowMs),
  );
  // A start is in force before anything follows from it: what follows may be more than one transaction.
  if (world.rollout === undefined && heard.rollout !== undefined)
    return { world: { ...heard, slots: withSamePlaces(world.slots, heard.slots) }, effects: [] };
  const decided = untilSettled(
    heard,
    (before) =>
      // What etcd says may be older than what the nodes did: nothing is decided on it.
      before.recovery?.kind === 'refused' ? before : withClocks(before, decide(before, nowMs), nowMs),
    decisionsMax.ofCluster + decisionsMax.ofEachNode * nodeCount(heard),
  );
  const placed = { ...decided, slots: withSamePlaces(world.slots, decided.slots) };
  const explained = explainWaiting(placed, nowMs);
  return explained.recovery?.kind === 'refused'
    ? { world: explained, effects: [] }
    : dueEffects(explained, nowMs);
}

/** Nodes on the list, and in the rollout: one that was removed may still have a part in it. */
function nodeCount({ labels, rollout }: World): number {
  return labels.size + (rollout?.nodes.size ?? 0);
}
