/**
 * Guarantee 6 for the course of a rollout: a word that was taken is in force, and what stands still goes on by
 * nothing but a word. Told from what one transaction consumes, and from the state that it leaves.
 */
import { isFinal, type Rollout } from '../../controller/rollout/rollout.js';
import type { World } from '../../controller/rollout/world.js';
import type { ModelChange, ModelEtcd } from '../scenarios/model-etcd.test.part.js';
import { keys } from '../scenarios/model-leader.test.part.js';

/** Words by which a rollout that stands still goes on. */
const onwardWords: readonly string[] = ['resume', 'retry', 'skip'];

/** @returns what is wrong with where the rollout goes now; undefined when nothing is */
export function wrongCourse(
  etcd: ModelEtcd,
  before: World,
  after: World,
  change: ModelChange,
): string | undefined {
  const is = after.rollout;
  const was = before.rollout;
  if (is === undefined || was?.id !== is.id) return undefined;
  const words = takenWords(etcd, is.id, change);
  const ignored = words.find((word) => isIgnored(word, is));
  if (ignored !== undefined) return `${ignored} was taken, and the rollout goes ${is.course.kind}`;
  const isOnward = was.course.kind !== 'forward' && is.course.kind === 'forward';
  if (isOnward && (was.course.kind !== 'paused' || !words.some((word) => onwardWords.includes(word))))
    return `it was ${was.course.kind} and goes on, and nobody said so`;
  return undefined;
}

function isIgnored(word: string, { course, phase }: Rollout): boolean {
  if (isFinal(phase)) return false;
  if (word === 'pause') return course.kind === 'forward';
  return word === 'abort' && course.kind !== 'aborting' && course.kind !== 'back';
}

/** The words for the rollout that this transaction consumes, but for those that it refuses. */
function takenWords(etcd: ModelEtcd, rollout: string, { revision, changed }: ModelChange): string[] {
  const prefix = keys.rolloutIntents(rollout);
  const consumed = [...changed].filter(([key, entry]) => key.startsWith(prefix) && entry === undefined);
  if (consumed.length === 0) return [];
  const stood = new Map(etcd.rangeAt(prefix, revision - 1n).map(({ key, value }) => [key, value]));
  return consumed.flatMap(([key]) => {
    const outcome = changed.get(keys.outcome(key.slice(prefix.length)))?.value ?? '{}';
    const { error }: { error?: unknown } = JSON.parse(outcome);
    const { kind }: { kind: string } = JSON.parse(stood.get(key) ?? '{}');
    return error === null ? [kind] : [];
  });
}
