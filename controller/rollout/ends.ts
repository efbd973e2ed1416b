/**
 * How a rollout ends, and with which exit code (contract, section 2; protocol, rule 30). The end
 * gives the budget back.
 */
import { NONE } from '../../release/version.js';
import { withConfiguredBudget } from './budget.js';
import { givenUp, nodesInOrder, viewOf, withNode, withRollout } from './change.js';
import {
  commandId,
  type FinalPhase,
  hasFailed,
  type PlanPart,
  type ReleaseRef,
  type Rollout,
  type RolloutNode,
} from './rollout.js';
import type { ActiveWorld, World } from './world.js';

/** Makes a rollout final. */
export function end(
  world: ActiveWorld,
  phase: FinalPhase,
  reason: string,
  exitCode: number,
  nowMs: number,
): World {
  const quiet = withoutChecks(withConfiguredBudget(world), nowMs);
  return withRollout(quiet, { phase, reason, exitCode, finishedAtMs: nowMs });
}

/** Nobody waits any longer for a check, or a staging, that is still under way: it touches nothing. */
function withoutChecks(world: ActiveWorld, nowMs: number): ActiveWorld {
  const checking = [...world.rollout.nodes.values()].filter(
    ({ state }) => state.phase === 'preflight' || state.phase === 'staging',
  );
  return checking.reduce(
    (next, node) => withNode(next, node.id, { state: { phase: 'pending' }, ended: givenUp(node) }, nowMs),
    world,
  );
}

/** A node that an operator confirmed at something else than what it ran before. */
function isElsewhere(world: World, node: RolloutNode | undefined, part: PlanPart): boolean {
  if (node === undefined || node.state.phase !== 'skipped' || node.outSinceMs === null) return false;
  const isConfirmed = world.orders.get(node.id)?.state === 'done';
  return isConfirmed && node.release.digest !== part.from.digest;
}

/** The end of a rollout that did not reach its target, told from where its nodes are. */
export function endIfSettled(world: ActiveWorld, rollout: Rollout, reason: string, nowMs: number): World {
  const nodes = [...rollout.nodes.values()];
  const stranded = nodes.filter((node) => node.state.phase === 'rollback_failed');
  if (stranded.length > 0) {
    const names = stranded.map((node) => node.id).join(', ');
    const need = stranded.length === 1 ? 'needs' : 'need';
    return end(
      world,
      'failed',
      `${reason}; ${names} ${need} an operator: look with plexictl status`,
      4,
      nowMs,
    );
  }
  const touched = nodes.some((node) => node.outSinceMs !== null);
  if (!touched) return end(world, 'aborted', `${reason}; nothing was touched`, 3, nowMs);
  const elsewhere = rollout.plan.parts
    .filter((part) => isElsewhere(world, rollout.nodes.get(part.node), part))
    .map((part) => part.node);
  if (rollout.course.kind === 'back' && elsewhere.length > 0) {
    const what = `${elsewhere.join(', ')} did not go back, by an operator's word`;
    return end(world, 'aborted', `${reason}; ${what}: versions are mixed`, 5, nowMs);
  }
  if (rollout.course.kind === 'back') return end(world, 'rolled_back', reason, 1, nowMs);
  return rollout.plan.header.direction === 'back'
    ? endRollback(world, rollout, reason, nowMs)
    : endMidway(world, rollout, reason, nowMs);
}

/** A rollback that did not reach its target: a node that could not be taken back is an operator's. */
function endRollback(world: ActiveWorld, rollout: Rollout, reason: string, nowMs: number): World {
  const failed = nodesInOrder(rollout)
    .filter((node) => hasFailed(node) && node.state.phase !== 'skipped')
    .filter((node) => !isRecalled(rollout, node));
  if (failed.length === 0) {
    const where = isAnyChanged(world, rollout) ? 'versions are mixed' : 'no node went back';
    const next = `say plexictl rollback --update-id ${rollout.plan.header.rollbackOf} again`;
    return end(world, 'aborted', `${reason}; ${where}: ${next}`, 5, nowMs);
  }
  const names = failed.map(({ id }) => id).join(', ');
  return end(world, 'failed', `${reason}; ${names} did not go back: look with plexictl status`, 4, nowMs);
}

/** Whether a node that was out runs something else than before; one that was taken off the list is nobody's concern. */
function isAnyChanged({ labels }: World, { plan, nodes }: Rollout): boolean {
  return plan.parts.some(({ node: id, from }) => {
    const node = nodes.get(id);
    const isRemoved = node?.state.phase === 'skipped' && !labels.has(id);
    return (
      node !== undefined && node.outSinceMs !== null && node.release.digest !== from.digest && !isRemoved
    );
  });
}

/** Whether the node is where it was because the rollout called it back, and not by a failure of its own. */
function isRecalled({ id }: Rollout, node: RolloutNode): boolean {
  const attempt = node.attempts.roll_back ?? 0;
  return node.ended?.commandId === commandId(id, node.id, 'roll_back', attempt);
}

/** Neither to the new version nor, by a course of its own, back: told from what the touched nodes run. */
function endMidway(world: ActiveWorld, rollout: Rollout, reason: string, nowMs: number): World {
  if (isAnyChanged(world, rollout)) {
    const next = 'versions are mixed: go on with the same plexictl rollout, or take it back';
    return end(world, 'aborted', `${reason}; ${next}`, 5, nowMs);
  }
  const back = `${reason}; every touched node is back on its old version`;
  return rollout.course.kind === 'aborting'
    ? end(world, 'aborted', back, 5, nowMs)
    : end(world, 'rolled_back', back, 1, nowMs);
}

/** The end is told from what the nodes report, not from what was sent (semantics S25). */
export function finalize(world: ActiveWorld, rollout: Rollout, nowMs: number): World {
  const wrong = rollout.plan.parts.flatMap((part) => {
    const node = rollout.nodes.get(part.node);
    if (node?.state.phase !== 'done') return [];
    const runs = runningOn(world, node);
    return runs.digest === part.to.digest ? [] : [{ part, runs }];
  });
  if (wrong.length > 0) return endChanged(world, wrong, nowMs);
  const unfinished = nodesInOrder(rollout).filter((node) => node.error !== null);
  if (unfinished.length > 0) return endIfSettled(world, rollout, whyUnfinished(unfinished), nowMs);
  const skipped = nodesInOrder(rollout).filter((node) => node.state.phase === 'skipped');
  const all = rollout.plan.header.nodeCount;
  if (skipped.length === all) return endIfSettled(world, rollout, 'every node was skipped', nowMs);
  return end(world, 'succeeded', whatRuns(rollout, all, skipped), 0, nowMs);
}

/** What a node runs, by its own word where it can be heard. */
function runningOn(world: World, node: RolloutNode): ReleaseRef {
  const { reachable, release } = viewOf(world, node.id);
  return reachable && release !== null ? release : node.release;
}

/** A node that was through with its part of the plan, and what it runs instead. */
interface Changed {
  readonly part: PlanPart;
  readonly runs: ReleaseRef;
}

/** Somebody else has changed nodes that were through: nobody but an operator knows what they are to run. */
function endChanged(world: ActiveWorld, wrong: readonly Changed[], nowMs: number): World {
  const told = wrong.reduce((next, { part: { node, to }, runs }) => {
    const message = `it runs ${whatOf(runs)}, though it was through with ${to.version}: say what is right with plexictl node confirm ${node} --version VERSION --reason TEXT, or roll out again`;
    return withNode(next, node, { error: { code: 'NODE_CHANGED', message } }, nowMs);
  }, world);
  const names = wrong.map(({ part }) => part.node).join(', ');
  const reason = `what runs on ${names} is not what the plan says; look with plexictl status`;
  return end(told, 'failed', reason, 4, nowMs);
}

/** As an agent names it: NONE without a release, empty when it cannot be told. */
function whatOf({ version }: ReleaseRef): string {
  if (version === NONE) return 'nothing';
  return version === '' ? 'something that its agent cannot name' : version;
}

function whatRuns(rollout: Rollout, all: number, skipped: readonly RolloutNode[]): string {
  const { leftOut } = rollout.plan.header;
  const left =
    leftOut.length === 0
      ? ''
      : `; left as they are, because somebody must see to them first: ${leftOut.join(', ')}`;
  const versions = versionsOf(rollout);
  if (skipped.length > 0) {
    const names = skipped.map((node) => node.id).join(', ');
    return `${all - skipped.length} of ${all} nodes run ${versions}; skipped by an operator: ${names}${left}`;
  }
  return `${all === 1 ? 'the one node runs' : `all ${all} nodes run`} ${versions}${left}`;
}

/** `0b1`, or `0a1 (2) and 0a2 (1)`: a rollback takes each node to what it ran before. */
function versionsOf({ plan, nodes }: Rollout): string {
  const counts = new Map<string, number>();
  for (const { node, to } of plan.parts)
    if (nodes.get(node)?.state.phase !== 'skipped') counts.set(to.version, (counts.get(to.version) ?? 0) + 1);
  const named = [...counts].map(([version, count]) =>
    counts.size === 1 ? version : `${version} (${count})`,
  );
  return named.join(' and ');
}

function whyUnfinished(nodes: readonly RolloutNode[]): string {
  const isLeftOut = ({ state }: RolloutNode): boolean => state.phase === 'skipped';
  const isSilent = ({ error }: RolloutNode): boolean => error?.code === 'NODE_UNREACHABLE';
  const told = (of: (node: RolloutNode) => boolean, what: string): string[] => {
    const names = nodes.filter(of).map(({ id }) => id);
    return names.length === 0 ? [] : [`${names.join(', ')} ${what}`];
  };
  return [
    ...told((node) => !isLeftOut(node), 'failed, within the failure budget'),
    ...told((node) => isLeftOut(node) && isSilent(node), 'could not be reached and was left out'),
    ...told((node) => isLeftOut(node) && !isSilent(node), 'did not let itself be adopted and was left out'),
  ].join('; ');
}
