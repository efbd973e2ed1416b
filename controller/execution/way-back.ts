/**
 * Which nodes of a finished rollout can go back, and which stay as they are: one that needs an operator,
 * that nobody can reach, that is gone, or that ran nothing before. None of these keeps another node from
 * going back (protocol, rules 17 and 18). Pure.
 */
import { limits } from '../../config/limits.js';
import { NONE, type VersionScheme } from '../../release/version.js';
import type { NodeFacts } from '../rollout/plan-inputs.js';
import type { PlanPart, Rollout } from '../rollout/rollout.js';

/** A node that is to go back and stays as it is. */
export interface LeftNode {
  readonly node: string;
  /** Why, and what lets it go back: a sentence. */
  readonly why: string;
}

/** The nodes of a finished rollout, as its way back has to do with them. */
export interface WayBack {
  readonly able: readonly PlanPart[];
  readonly left: readonly LeftNode[];
}

/**
 * Sorts the nodes that a rollout changed; those that run what they ran before already are in neither list.
 * @param facts the nodes that are in the cluster, by name
 * @param stuck nodes that need an operator
 */
export function wayBackOf(
  rollout: Rollout,
  facts: ReadonlyMap<string, NodeFacts>,
  stuck: readonly string[],
): WayBack {
  const able: PlanPart[] = [];
  const left: LeftNode[] = [];
  for (const part of changedParts(rollout)) {
    const node = facts.get(part.node);
    const why = whyLeft(rollout.id, part, node, stuck.includes(part.node));
    if (why !== undefined) left.push({ node: part.node, why });
    else if (node?.digest !== part.from.digest) able.push(part);
  }
  return { able, left };
}

/** The oldest version that a way back leads to, by which it is named; where it is not the only one, the parts tell. */
export function oldestBefore(able: readonly PlanPart[], scheme: VersionScheme): string {
  const versions = able.map(({ from }) => from.version);
  return versions.reduce((oldest, version) =>
    scheme.compare(scheme.parse(version), scheme.parse(oldest)) < 0 ? version : oldest,
  );
}

/** The parts of the nodes that a rollout changed. */
export function changedParts({ plan, nodes }: Rollout): PlanPart[] {
  return plan.parts.filter(
    (part) => nodes.get(part.node)?.state.phase === 'done' && part.strategy !== 'none',
  );
}

/** Their names, as the header of a plan holds them: of more than so many, how many there are. */
export function namesOf(left: readonly LeftNode[]): string[] {
  const names = left.slice(0, limits.leftOutNames).map(({ node }) => node);
  const more = left.length - names.length;
  return more === 0 ? names : [...names, `${more} more`];
}

function whyLeft(
  rollout: string,
  { node, from }: PlanPart,
  facts: NodeFacts | undefined,
  isStuck: boolean,
): string | undefined {
  const then = `then say plexictl rollback --update-id ${rollout}`;
  if (facts === undefined)
    return `${node} is not in the cluster any more and stays as it is; if it is to go back, let it in with plexictl node add ${node}, ${then}`;
  if (isStuck)
    return `an operator is needed before ${node} can go back; look with plexictl why ${node}, put it right, ${then}`;
  // What it ran last need not be what it runs now.
  if (facts.unknown || facts.version === '')
    return `${node} cannot be reached and stays as it is; start its agent, ${then}`;
  if (from.version === NONE && facts.version !== NONE)
    return `${node} ran nothing before ${rollout} and stays as it is; if it is not wanted, take it off with plexictl node remove ${node}`;
  return undefined;
}
