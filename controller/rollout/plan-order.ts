/** Which nodes a rollout is about, and in which order they go. Pure. */
import type { NodeFacts, PlanInputs } from './plan-inputs.js';

/** The nodes that the request is about. One that an operator holds is left out, unless it was named. */
export function chooseNodes({ nodes, request, direction }: PlanInputs): {
  chosen: NodeFacts[];
  problems: string[];
  warnings: string[];
} {
  const known = new Set(nodes.map((node) => node.id));
  const problems = [...request.nodes, ...request.exclude]
    .filter((id) => !known.has(id))
    .map((id) => `there is no node ${id}; plexictl nodes lists them`);
  const wanted = nodes.filter(
    (node) =>
      (request.nodes.length === 0 || request.nodes.includes(node.id)) &&
      !request.exclude.includes(node.id) &&
      request.selectors.every((selector) => matches(node, selector)),
  );
  const held = direction === 'forward' ? wanted.filter((node) => node.held !== null) : [];
  const warnings: string[] = [];
  for (const node of held) {
    const why = `${node.id} is held (${node.held === '' ? 'no reason given' : node.held})`;
    const release = `release it with plexictl node release ${node.id}`;
    if (request.nodes.includes(node.id)) problems.push(`${why}; ${release}`);
    else warnings.push(`${why} and is left out; ${release}`);
  }
  const chosen = wanted.filter((node) => !held.includes(node));
  if (chosen.length === 0 && problems.length === 0)
    problems.push('no node matches; plexictl nodes lists them with their labels');
  return { chosen, problems, warnings };
}

/** Whether a node has the label of a selector, `key=value`. */
export function matches(node: NodeFacts, selector: string): boolean {
  const [key = '', value = ''] = selector.split('=', 2);
  return node.labels[key] === value;
}

/** Why a node stands where it does, in the order in which they go. */
const placeReasons = ['unhealthy', 'canary', 'zone', 'leader host'] as const;
type PlaceReason = (typeof placeReasons)[number];

/** A node at its place. */
export interface Placed {
  readonly node: NodeFacts;
  readonly wave: number;
  readonly reason: PlaceReason;
}

/** Unhealthy first (it costs no capacity, and may cure them), then canaries, by zone, the leader's own host last. */
export function orderNodes(inputs: PlanInputs, chosen: readonly NodeFacts[]): Placed[] {
  const { request, spread, leaderHost } = inputs;
  const { zoneLabel } = spread;
  const byZone = [...chosen].sort(
    (a, b) => compareText(a.labels[zoneLabel] ?? '', b.labels[zoneLabel] ?? '') || compareText(a.id, b.id),
  );
  const healthy = byZone.filter((node) => node.health !== 'unhealthy');
  const canaries = new Set(
    request.canarySelector === ''
      ? healthy.slice(0, request.canary).map((node) => node.id)
      : byZone.filter((node) => matches(node, request.canarySelector)).map((node) => node.id),
  );
  const leaderShares = chosen.some((node) => node.host !== leaderHost);
  const reasonOf = (node: NodeFacts): PlaceReason => {
    if (node.health === 'unhealthy') return 'unhealthy';
    if (canaries.has(node.id)) return 'canary';
    return leaderShares && node.host === leaderHost ? 'leader host' : 'zone';
  };
  return byZone
    .map((node) => ({ node, reason: reasonOf(node) }))
    .sort((a, b) => placeReasons.indexOf(a.reason) - placeReasons.indexOf(b.reason))
    .map(({ node, reason }) => {
      const isBehindCanaries = canaries.size > 0 && (reason === 'zone' || reason === 'leader host');
      return { node, reason, wave: isBehindCanaries ? 1 : 0 };
    });
}

function compareText(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
