/**
 * What the phase words of the contract (section 3) mean to somebody who looks on: how far a node has
 * come, and whether a rollout goes on. A word that a newer controller may send and that is not known
 * here counts as busy and not final, so that a follower never ends too early.
 */
import type { Rollout, RolloutNode } from '../../gen/plexi/v1/rollouts.js';

/** The phases a node passes on its way, in order. */
export const nodePhasesInOrder: readonly string[] = [
  'pending',
  'preflight',
  'staging',
  'ready',
  'entering_maintenance',
  'stopping',
  'backing_up',
  'migrating',
  'applying',
  'probing',
  'committing',
  'leaving_maintenance',
  'soaking',
  'done',
];

const finalRolloutPhases: ReadonlySet<string> = new Set(['succeeded', 'rolled_back', 'aborted', 'failed']);
const settledNodePhases: ReadonlySet<string> = new Set(['done', 'skipped', 'rolled_back', 'rollback_failed']);
const goingBackPhases: ReadonlySet<string> = new Set(['rolling_back', 'rolled_back', 'rollback_failed']);
const idleNodePhases: ReadonlySet<string> = new Set(['pending', 'ready']);

/** How a node's phase is to be seen. */
export type Mood = 'waiting' | 'busy' | 'good' | 'bad';

/** Whether the rollout is over and will not change again. */
export function isFinal(rollout: Pick<Rollout, 'phase'>): boolean {
  return finalRolloutPhases.has(rollout.phase);
}

/** Whether the rollout was paused by a failure: it waits for an operator, and following it ends. */
export function isStoppedByFailure(rollout: Pick<Rollout, 'phase' | 'exitCode'>): boolean {
  return rollout.phase === 'paused' && rollout.exitCode !== 0;
}

/** Whether nothing more happens to this node by itself. */
export function isSettled(node: Pick<RolloutNode, 'phase'>): boolean {
  return settledNodePhases.has(node.phase);
}

/** Whether something happens to this node now, or something is wrong with it. */
export function isNoteworthy(node: RolloutNode): boolean {
  const quiet = idleNodePhases.has(node.phase) || node.phase === 'done' || node.phase === 'skipped';
  return !quiet || node.unknown || node.error !== undefined;
}

/** How a node's phase is to be seen. */
export function moodOf(node: Pick<RolloutNode, 'phase' | 'unknown'>): Mood {
  if (goingBackPhases.has(node.phase) || node.unknown) return 'bad';
  if (node.phase === 'done') return 'good';
  return idleNodePhases.has(node.phase) || node.phase === 'skipped' ? 'waiting' : 'busy';
}

/** How far a node has come, from 0 to 1, or `back` when it goes or went back. */
export function progressOf(phase: string): number | 'back' {
  if (goingBackPhases.has(phase)) return 'back';
  if (phase === 'skipped') return 1;
  const position = nodePhasesInOrder.indexOf(phase);
  return Math.max(0, position) / (nodePhasesInOrder.length - 1);
}
