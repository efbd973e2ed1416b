/**
 * What speaks against a plan, all of it at once: what nothing starts with, what an operator may go on
 * in spite of with `--force`, and what he should know. Pure.
 */
import type { NodeFacts, PlanInputs } from './plan-inputs.js';
import { matches } from './plan-order.js';
import type { Plan, PlanPart } from './rollout.js';
import { isMember } from './spread.js';

/** What an operator should know before it starts. */
export function warningsOf(inputs: PlanInputs, { header, parts }: Plan): string[] {
  const { backups, nodes } = inputs;
  const changing = parts.filter((part) => part.strategy !== 'none');
  if (changing.length === 0 || header.stageOnly) return [];
  const warnings: string[] = [];
  if (header.policy.maxConcurrent >= nodes.length && nodes.length > 1) {
    warnings.push(`all ${nodes.length} nodes may be out of service at a time`);
  }
  if (changing.length > 1 && changing.every((part) => part.orderReason === 'canary')) {
    warnings.push('every node is a canary, so none goes before the others');
  }
  if (!backups.enabled) warnings.push('no backup is made: data cannot go back');
  return [...warnings, ...emptyGroups(inputs)];
}

/** With `problems` nothing starts; `forced` are those that `--force` has put aside. */
export function problemsOf(
  inputs: PlanInputs,
  chosen: readonly NodeFacts[],
  plan: Plan,
): { problems: string[]; forced: string[] } {
  const forcible = forcibleProblems(inputs, chosen, plan);
  const problems = [
    ...clusterProblems(inputs),
    ...nodeProblems(inputs, chosen),
    ...plan.parts.flatMap((part) => partProblems(inputs, part)),
    ...stuckProblems(inputs, plan),
    ...groupProblems(inputs, plan),
  ];
  return inputs.request.force
    ? { problems, forced: forcible.map(({ what }) => `${what}; it goes on by --force`) }
    : { problems: [...problems, ...forcible.map(({ what, remedy }) => `${what}; ${remedy}`)], forced: [] };
}

/** What the policy allows for a cluster of one node only (contract, section 7). */
function clusterProblems({ cluster, nodes }: PlanInputs): string[] {
  if (nodes.length <= 1) return [];
  const problems: string[] = [];
  if (!cluster.manyNodes) {
    problems.push(
      `this cluster has ${nodes.length} nodes, and clustering.enabled is false in update.yml; set it to true`,
    );
  }
  if (!cluster.coordination) {
    problems.push(
      `this cluster has ${nodes.length} nodes, and behavior.cluster_coordination is false in update.yml; set it to true`,
    );
  }
  return problems;
}

function nodeProblems(inputs: PlanInputs, chosen: readonly NodeFacts[]): string[] {
  const problems: string[] = [];
  for (const node of chosen) {
    if (node.unknown || node.version === '') {
      problems.push(
        `${node.id} cannot be reached; start its agent, or leave it out with --exclude ${node.id}`,
      );
    }
    if (node.order !== '') {
      problems.push(`${node.id} has an order under way (${node.order}); wait for its end`);
    }
  }
  const { canarySelector } = inputs.request;
  if (canarySelector !== '' && !chosen.some((node) => matches(node, canarySelector))) {
    problems.push(`no node is a canary by ${canarySelector}; plexictl nodes -o wide lists the labels`);
  }
  return problems;
}

/** A group that can spare no node would let its nodes wait for ever. */
function groupProblems({ nodes, spread, request }: PlanInputs, { parts }: Plan): string[] {
  if (request.stageOnly) return [];
  const changing = new Set(parts.filter((part) => part.strategy !== 'none').map((part) => part.node));
  return spread.groups.flatMap((group) => {
    const members = nodes.filter((node) => isMember(group, node.labels));
    if (members.length > group.minAvailable || !members.some(({ id }) => changing.has(id))) return [];
    return [
      `group ${group.name} has ${members.length} nodes and needs ${group.minAvailable} of them at any time, so none can be upgraded; lower its min_available in controller.yml, or add nodes to it`,
    ];
  });
}

/** A group without a node protects nothing, which is hardly what was meant. */
function emptyGroups({ nodes, spread }: PlanInputs): string[] {
  return spread.groups
    .filter((group) => !nodes.some((node) => isMember(group, node.labels)))
    .map((group) => `group ${group.name} of controller.yml has no node: no node has its labels`);
}

/** They block new upgrades; never a way back of others, nor what touches no node (protocol, rule 17). */
function stuckProblems(inputs: PlanInputs, { parts }: Plan): string[] {
  const { stuck, policy, direction, request } = inputs;
  if (request.stageOnly) return [];
  const first = stuck[0];
  if (stuck.length > policy.failureBudget && direction === 'forward') {
    const needs = stuck.length === 1 ? `${first} needs` : `${stuck.join(', ')} need`;
    return [
      `${needs} an operator; look with plexictl why ${first}, put it right, then say plexictl node confirm ${first} --version VERSION --reason TEXT`,
    ];
  }
  // Its slot is apart from the budget, so nothing would count it when it goes out of service once more.
  return parts
    .filter(({ node, strategy }) => strategy !== 'none' && stuck.includes(node))
    .map(
      ({ node }) =>
        `${node} needs an operator before anything else is done to it: put it right and say plexictl node confirm ${node} --version VERSION --reason TEXT, or leave it out with --exclude ${node}`,
    );
}

interface ForcibleProblem {
  readonly what: string;
  readonly remedy: string;
}

/** What an operator may go on in spite of. */
function forcibleProblems(
  { cluster, direction }: PlanInputs,
  chosen: readonly NodeFacts[],
  { header, parts }: Plan,
): ForcibleProblem[] {
  const changing = new Set(parts.filter((part) => part.strategy !== 'none').map((part) => part.node));
  if (changing.size === 0 || header.stageOnly || direction === 'back') return [];
  // Where nothing is installed nothing can be healthy; a restart or a new copy is meant as a cure.
  const upgraded = new Set(
    parts
      .filter((part) => part.strategy === 'upgrade' || part.strategy === 'downgrade')
      .map((part) => part.node),
  );
  const problems: ForcibleProblem[] = [];
  if (!cluster.rolling && changing.size > 1) {
    problems.push({
      what: `clustering.rolling_updates is false, so all ${changing.size} nodes go out of service at once`,
      remedy: 'if that is meant, say --force',
    });
  }
  for (const node of chosen) {
    if (node.health !== 'unhealthy' || !upgraded.has(node.id)) continue;
    const why = node.healthReason === '' ? '' : ` (${node.healthReason})`;
    problems.push({
      what: `${node.id} is not healthy before the rollout${why}`,
      remedy: `cure it, leave it out with --exclude ${node.id}, or go on with --force`,
    });
  }
  return problems;
}

function partProblems({ request, direction, backups, scheme }: PlanInputs, part: PlanPart): string[] {
  const problems: string[] = [];
  if (part.to.digest === '' && part.from.version !== '')
    problems.push(`release ${part.to.version} has no artifact for the platform of ${part.node}`);
  if (part.strategy === 'downgrade' && !request.downgrade && direction === 'forward') {
    problems.push(
      `${part.node} runs ${part.from.version}, which is newer; go back with plexictl downgrade --to ${part.to.version}`,
    );
  }
  const isUpgrade = part.strategy === 'upgrade' && part.from.version !== '';
  if (isUpgrade && request.downgrade && direction === 'forward') {
    problems.push(
      `${part.node} runs ${part.from.version}, which is older; go on with plexictl rollout --to ${part.to.version}`,
    );
  }
  if (isUpgrade && direction === 'forward') {
    const path = scheme.pathProblem(scheme.parse(part.from.version), scheme.parse(part.to.version));
    if (path !== undefined) problems.push(`${part.node}: ${path}`);
  }
  if (part.migrations.length > 0 && !backups.enabled) {
    problems.push(
      `${part.to.version} migrates the data of ${part.node}, and backups are off; turn on backup.enabled in update.yml`,
    );
  }
  return problems;
}
