/**
 * A rollout that begins is the one that was asked for: as many nodes at a time, to that version, of those nodes,
 * by the rules of the configuration. What the other oracles read in the plan is held against its source here.
 */
import type { PlanPart, Rollout, RolloutPolicy } from '../../controller/rollout/rollout.js';

/** What an operator asked for. */
export type Asked =
  | { readonly kind: 'start'; readonly request: AskedStart }
  | { readonly kind: 'rollback'; readonly of: Rollout };

export interface AskedStart {
  readonly to: string;
  /** 0: as many as the configuration says. */
  readonly maxConcurrent: number;
  readonly stageOnly: boolean;
  /** Empty: all of them. */
  readonly nodes: readonly string[];
  readonly exclude: readonly string[];
}

/** A sentence, and the guarantee that it is about. */
export interface Unasked {
  readonly guarantee: number;
  readonly sentence: string;
}

const rules = ['soakMs', 'failureBudget', 'rollbackOnFailure', 'unknownMaxMs'] as const;

/** @returns what is not as it was asked; undefined when all of it is */
export function unasked(
  { plan: { header, parts } }: Rollout,
  asked: Asked | undefined,
  configured: RolloutPolicy,
): Unasked | undefined {
  if (asked === undefined) return { guarantee: 6, sentence: 'nobody asked for it' };
  const max = askedMax(asked, configured);
  if (header.policy.maxConcurrent !== max)
    return { guarantee: 1, sentence: `it takes ${header.policy.maxConcurrent} at a time, asked was ${max}` };
  const rule = rules.find((name) => header.policy[name] !== configured[name]);
  if (rule !== undefined)
    return { guarantee: 7, sentence: `${rule} is ${header.policy[rule]}, and not ${configured[rule]}` };
  const nodes = parts.map(({ node }) => node);
  const isOther =
    asked.kind === 'start'
      ? header.to !== asked.request.to || header.stageOnly !== asked.request.stageOnly
      : header.rollbackOf !== asked.of.id ||
        header.stageOnly ||
        parts.some((part) => !isBack(part, asked.of));
  if (isOther) return { guarantee: 6, sentence: `it goes to ${header.to}, which is not what was asked` };
  const strange = nodes.find((node) => !isMeant(node, asked));
  return strange === undefined ? undefined : { guarantee: 6, sentence: `nobody asked it of ${strange}` };
}

/** Each node to what it ran before, whatever the header calls it. */
function isBack({ node, to }: PlanPart, { plan }: Rollout): boolean {
  return plan.parts.find((part) => part.node === node)?.from.digest === to.digest;
}

function askedMax(asked: Asked, configured: RolloutPolicy): number {
  if (asked.kind === 'rollback') return asked.of.plan.header.policy.maxConcurrent;
  return asked.request.maxConcurrent > 0 ? asked.request.maxConcurrent : configured.maxConcurrent;
}

function isMeant(node: string, asked: Asked): boolean {
  if (asked.kind === 'rollback') return asked.of.nodes.has(node);
  const { nodes, exclude } = asked.request;
  return !exclude.includes(node) && (nodes.length === 0 || nodes.includes(node));
}
