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

/** Decisions that one event may lead to in a row; more would be a loop. */
const decisionsMax = 50;

/**
 * @param world what is persisted, and what this leader sees
 * @param events what happened, in order
 * @param nowMs the leader's clock, in milliseconds since 1970; never goes back
 */
export function advance(world: World, events: readonly EngineEvent[], nowMs: number): Advance {
  let next = events.reduce(
    (before, event) => withClocks(before, takeEvent(before, event, nowMs), nowMs),
    countSilence(world, nowMs),
  );
  for (let count = 0; ; count++) {
    // What etcd says may be older than what the nodes did: nothing is decided on it.
    const decided = next.recovery?.kind === 'refused' ? next : withClocks(next, decide(next, nowMs), nowMs);
    if (decided === next) break;
    if (count === decisionsMax) throw new Error('the engine decides in a circle');
    next = decided;
  }
  next = { ...next, slots: withSamePlaces(world.slots, next.slots) };
  const explained = explainWaiting(next, nowMs);
  return explained.recovery?.kind === 'refused'
    ? { world: explained, effects: [] }
    : dueEffects(explained, nowMs);
}
