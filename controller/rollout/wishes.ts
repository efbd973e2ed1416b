/**
 * What an operator's wish does to the active rollout. A wish that would change nothing is refused
 * before it comes here (`wishRefusal`), so that nobody believes it to be in force.
 */
import type { limits } from '../../config/limits.js';
import { holdsSlot, withNode, withRollout } from './change.js';
import type { Wish } from './events.js';
import { hasOpenOrder } from './orders.js';
import {
  type Course,
  hasFailed,
  isFinal,
  type Milliseconds,
  type Rollout,
  type RolloutNode,
} from './rollout.js';
import { type ActiveWorld, isActive, type World } from './world.js';

/** Enters a wish; the same world when there is nothing that it could change. */
export function takeWish(world: World, wish: Wish, nowMs: Milliseconds): World {
  if (!isActive(world) || isFinal(world.rollout.phase)) return world;
  const { rollout } = world;
  const { course } = rollout;
  switch (wish.kind) {
    case 'pause':
      return course.kind === 'forward'
        ? withRollout(world, { course: { kind: 'paused', by: 'operator', reason: wish.reason } })
        : world;
    case 'resume':
      return resume(world, rollout, wish);
    case 'abort':
      if (course.kind === 'back') return world;
      return withRollout(world, {
        course: { kind: wish.rollback ? 'back' : 'aborting', reason: wish.reason },
        exitCode: null,
      });
    case 'retry':
      return retry(world, rollout, wish.node, nowMs);
    case 'skip':
      return skip(world, rollout, wish.node, nowMs);
  }
}

function resume(world: ActiveWorld, rollout: Rollout, wish: ResumeWish): World {
  const { course } = rollout;
  if (course.kind !== 'paused' || isBeyondForgiving(rollout)) return world;
  if (unseenFailures(rollout, wish).length > 0) return world;
  // A failure is forgiven only by an operator who was shown it: it was the reason of the pause.
  const forgiven = course.by === 'failure' ? failedNodes(rollout) : rollout.forgiven;
  return withRollout(world, { course: { kind: 'forward' }, forgiven, reason: '', exitCode: null });
}

/** The bound of `config/limits.ts`, of which only the type may come in here: another number does not compile. */
const forgivenMax: (typeof limits)['forgivenNodes'] = 500;

type ResumeWish = Extract<Wish, { kind: 'resume' }>;

/** Nodes that have failed, whether or not that was put aside. */
export function failedNodes({ nodes }: Pick<Rollout, 'nodes'>): string[] {
  return [...nodes.values()].filter(hasFailed).map(({ id }) => id);
}

/** Failures that came after the wish was said: nobody has put them aside. */
function unseenFailures(rollout: Rollout, { seen }: ResumeWish): string[] {
  const { course, forgiven } = rollout;
  if (seen === undefined || course.kind !== 'paused' || course.by !== 'failure') return [];
  return failedNodes(rollout).filter((id) => !seen.includes(id) && !forgiven.includes(id));
}

/** Their names stand in one key of etcd, which does not hold any number of them. */
function isBeyondForgiving(rollout: Rollout): boolean {
  const { course } = rollout;
  return course.kind === 'paused' && course.by === 'failure' && failedNodes(rollout).length > forgivenMax;
}

/** The node takes its place in the order again; what it staged is still there. */
function retry(world: ActiveWorld, rollout: Rollout, id: string, nowMs: Milliseconds): World {
  if (!isRetryable(rollout.nodes.get(id)) || hasOpenOrder(world, id)) return world;
  const ready = withNode(world, id, { state: { phase: 'ready' }, error: null }, nowMs);
  const forgiven = rollout.forgiven.filter((node) => node !== id);
  return goOnAfterFailure(withRollout(ready, { forgiven }));
}

function skip(world: ActiveWorld, rollout: Rollout, id: string, nowMs: Milliseconds): World {
  const node = rollout.nodes.get(id);
  if (node === undefined || !isSkippable(world, node)) return world;
  return goOnAfterFailure(withNode(world, id, { state: { phase: 'skipped' }, error: null }, nowMs));
}

/** Goes on once the last failure that it was paused by was dealt with. */
function goOnAfterFailure(world: ActiveWorld): World {
  const { course } = world.rollout;
  if (course.kind !== 'paused' || course.by !== 'failure' || hasOpenFailure(world.rollout)) return world;
  return withRollout(world, { course: { kind: 'forward' }, reason: '', exitCode: null });
}

/** A node failed, and no operator has dealt with it yet. */
function hasOpenFailure({ nodes, forgiven }: Rollout): boolean {
  return [...nodes.values()].some(
    (node) => hasFailed(node) && node.state.phase !== 'skipped' && !forgiven.includes(node.id),
  );
}

function isRetryable(node: RolloutNode | undefined): boolean {
  return node?.state.phase === 'rolled_back' && hasFailed(node);
}

/** Only a node that is not out of service because of us may be left out (protocol, rule 30). */
function isSkippable(world: World, { id, state }: RolloutNode): boolean {
  const before = ['pending', 'preflight', 'staging', 'ready', 'rolled_back'];
  return before.includes(state.phase) && !holdsSlot(world, id);
}

/** Why a wish cannot be taken now, in one sentence; undefined when it can. */
export function wishRefusal(world: World, wish: Wish): string | undefined {
  const { rollout } = world;
  if (rollout === undefined) return 'no rollout is active; start one with plexictl rollout --to VERSION';
  if (!coursesFor[wish.kind].includes(rollout.course.kind)) {
    return `the rollout is ${inWords[rollout.course.kind]}, so it takes no ${wish.kind}; plexictl status shows it`;
  }
  if (wish.kind === 'resume' && isBeyondForgiving(rollout))
    return `more than ${forgivenMax} nodes have failed, which is too many to go on; end the rollout with plexictl abort --rollback`;
  const unseen = wish.kind === 'resume' ? unseenFailures(rollout, wish) : [];
  if (unseen.length > 0)
    return `${unseen.join(', ')} failed after this was said; look with plexictl status, then say plexictl resume again`;
  return wish.kind === 'retry' || wish.kind === 'skip' ? nodeRefusal(world, rollout, wish) : undefined;
}

const coursesFor: Record<Wish['kind'], readonly Course['kind'][]> = {
  pause: ['forward'],
  resume: ['paused'],
  abort: ['forward', 'paused', 'aborting'],
  retry: ['forward', 'paused'],
  skip: ['forward', 'paused'],
};

const inWords: Record<Course['kind'], string> = {
  forward: 'under way',
  paused: 'paused',
  aborting: 'being aborted',
  back: 'going back',
  called_off: 'called off',
};

function nodeRefusal(
  world: World,
  rollout: Rollout,
  wish: Extract<Wish, { kind: 'retry' | 'skip' }>,
): string | undefined {
  const node = rollout.nodes.get(wish.node);
  if (node === undefined) return `${wish.node} has no part in ${rollout.id}; plexictl status lists its nodes`;
  if (hasOpenOrder(world, wish.node))
    return `an order is under way on ${wish.node}; wait for its end (plexictl why ${wish.node})`;
  const { phase } = node.state;
  if (phase === 'rollback_failed') {
    return `${wish.node} needs an operator: look at it, put it right, then say so with plexictl node confirm ${wish.node} --version VERSION --reason TEXT`;
  }
  if (wish.kind === 'retry') {
    return isRetryable(node)
      ? undefined
      : `${wish.node} is ${phase}; only a node that failed and went back can be tried again`;
  }
  if (isSkippable(world, node)) return undefined;
  return holdsSlot(world, wish.node)
    ? `${wish.node} is out of service (${phase}), so it cannot be left out; wait for its end, or abort the rollout`
    : `${wish.node} is ${phase}, so there is nothing to leave out`;
}
