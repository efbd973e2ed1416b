/**
 * The plan: which nodes, from what, to what, in which order, with which migrations. Pure, so that the
 * dry run, the replica that shows it and the leader that starts it come to the same plan, and its
 * digest tells whether they did.
 */
import { NONE, type VersionScheme } from '../../release/version.js';
import type {
  Direction,
  MigrationRef,
  Plan,
  PlanHeader,
  PlanPart,
  ReleaseRef,
  RolloutPolicy,
  Strategy,
} from './rollout.js';

/** What the cluster knows of a node when a rollout is planned. */
export interface NodeFacts {
  readonly id: string;
  /** Empty when the node never answered. */
  readonly version: string;
  readonly digest: string;
  readonly health: 'healthy' | 'unhealthy' | 'unknown';
  readonly unknown: boolean;
  readonly labels: Readonly<Record<string, string>>;
  /** The host part of its address. */
  readonly host: string;
  readonly os: string;
  readonly arch: string;
  readonly inMaintenance: boolean;
}

/** What a release has for one platform. */
export interface ArtifactFacts {
  readonly artifactSha256: string;
  readonly digest: string;
  readonly unpackedBytes: number;
}

export interface TargetFacts {
  readonly version: string;
  readonly manifestSha256: string;
  artifactFor(os: string, arch: string): ArtifactFacts | undefined;
  /** The migrations from another version to this one, in order. */
  migrationsFrom(version: string): readonly MigrationRef[];
  /** Migrations among them that have no way down. */
  readonly oneWay: readonly string[];
}

export interface PlanRequest {
  readonly maxConcurrent: number;
  readonly canary: number;
  /** Empty: canaries are chosen by number. */
  readonly canarySelector: string;
  readonly nodes: readonly string[];
  readonly selectors: readonly string[];
  readonly exclude: readonly string[];
  readonly force: boolean;
  readonly downgrade: boolean;
}

export interface PlanInputs {
  readonly request: PlanRequest;
  readonly direction: Direction;
  readonly rollbackOf: string | null;
  readonly nodes: readonly NodeFacts[];
  /** Nodes that need an operator. */
  readonly stuck: readonly string[];
  /** The target of each node; a rollback may take nodes to different versions. */
  targetOf(node: NodeFacts): TargetFacts;
  readonly to: string;
  readonly policy: RolloutPolicy;
  /** `always`: also where no migration needs one. */
  readonly backups: { readonly enabled: boolean; readonly always: boolean };
  readonly scheme: VersionScheme;
  readonly zoneLabel: string;
  readonly leaderHost: string;
  readonly hash: (text: string) => string;
}

/** A plan, and what an operator must know before it starts. */
export interface PlannedRollout {
  readonly plan: Plan;
  readonly warnings: readonly string[];
  /** With any of these nothing starts. */
  readonly problems: readonly string[];
}

/** Milliseconds that a node takes besides its soak, until there is a measured figure. */
const nodeEstimateMs = 5_000;

/** Makes the plan. Every problem is found, not only the first. */
export function makePlan(inputs: PlanInputs): PlannedRollout {
  const { chosen, problems: choiceProblems } = chooseNodes(inputs);
  const ordered = orderNodes(inputs, chosen);
  const parts = ordered.map((entry, index) => planPart(inputs, entry, index));
  const header = planHeader(inputs, parts);
  return {
    plan: { header, parts, digest: inputs.hash(JSON.stringify(header)) },
    warnings: warningsOf(inputs, parts),
    problems: [...choiceProblems, ...problemsOf(inputs, chosen, parts)],
  };
}

/** The bytes over which a part's place in the plan digest is counted. */
export function partText(part: PlanPart): string {
  return JSON.stringify(part);
}

function chooseNodes({ nodes, request }: PlanInputs): { chosen: NodeFacts[]; problems: string[] } {
  const known = new Set(nodes.map((node) => node.id));
  const problems = [...request.nodes, ...request.exclude]
    .filter((id) => !known.has(id))
    .map((id) => `there is no node ${id}; plexictl nodes lists them`);
  const chosen = nodes.filter(
    (node) =>
      (request.nodes.length === 0 || request.nodes.includes(node.id)) &&
      !request.exclude.includes(node.id) &&
      request.selectors.every((selector) => matches(node, selector)),
  );
  if (chosen.length === 0 && problems.length === 0)
    problems.push('no node matches; plexictl nodes lists them with their labels');
  return { chosen, problems };
}

function matches(node: NodeFacts, selector: string): boolean {
  const [key = '', value = ''] = selector.split('=', 2);
  return node.labels[key] === value;
}

interface Placed {
  readonly node: NodeFacts;
  readonly wave: number;
  readonly reason: string;
}

/** Unhealthy first (it costs no capacity, and may cure them), then canaries, by zone, the leader's own host last. */
function orderNodes(inputs: PlanInputs, chosen: readonly NodeFacts[]): Placed[] {
  const { request, zoneLabel, leaderHost } = inputs;
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
  const rank = (node: NodeFacts): number => {
    if (node.health === 'unhealthy') return 0;
    if (canaries.has(node.id)) return 1;
    return leaderShares && node.host === leaderHost ? 3 : 2;
  };
  const reasons = ['unhealthy', 'canary', 'zone', 'leader host'] as const;
  return byZone
    .map((node) => ({ node, rank: rank(node) }))
    .sort((a, b) => a.rank - b.rank)
    .map((entry) => ({
      node: entry.node,
      wave: canaries.size > 0 && entry.rank > 1 ? 1 : 0,
      reason: reasons[entry.rank] ?? 'zone',
    }));
}

function compareText(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

function planPart(inputs: PlanInputs, placed: Placed, index: number): PlanPart {
  const { node } = placed;
  const target = inputs.targetOf(node);
  const artifact = target.artifactFor(node.os, node.arch);
  const from: ReleaseRef = { version: node.version, digest: node.digest };
  const to: ReleaseRef = { version: target.version, digest: artifact?.digest ?? '' };
  const strategy = strategyOf(inputs.scheme, from, to);
  const migrations = strategy === 'none' ? [] : target.migrationsFrom(node.version);
  return {
    node: node.id,
    index,
    wave: placed.wave,
    orderReason: placed.reason,
    strategy,
    from,
    to,
    manifestSha256: target.manifestSha256,
    artifactSha256: artifact?.artifactSha256 ?? '',
    unpackedBytes: artifact?.unpackedBytes ?? 0,
    migrations,
    backup: backsUp(inputs, strategy, migrations.length > 0),
    os: node.os,
    arch: node.arch,
    wasInMaintenance: node.inMaintenance,
    estimateMs: strategy === 'none' ? 0 : nodeEstimateMs + inputs.policy.soakMs,
  };
}

/** Whether a node's data is copied away: by the policy, and where there is data that may change. */
function backsUp({ backups }: PlanInputs, strategy: Strategy, migrates: boolean): boolean {
  if (!backups.enabled || strategy === 'none' || strategy === 'restart') return false;
  return backups.always || migrates;
}

function strategyOf(scheme: VersionScheme, from: ReleaseRef, to: ReleaseRef): Strategy {
  if (from.version === NONE) return 'install';
  if (from.version === '') return 'upgrade';
  const order = scheme.compare(scheme.parse(from.version), scheme.parse(to.version));
  if (order === 0 && from.digest === to.digest) return 'none';
  return order > 0 ? 'downgrade' : 'upgrade';
}

function planHeader(inputs: PlanInputs, parts: readonly PlanPart[]): PlanHeader {
  const { policy } = inputs;
  const changing = parts.filter((part) => part.strategy !== 'none');
  const rounds = Math.ceil(changing.length / policy.maxConcurrent);
  const oneWay = changing
    .flatMap((part) => part.migrations.map((migration) => migration.id))
    .filter((id) => oneWayIds(inputs).has(id));
  return {
    from: oldest(inputs.scheme, changing.length > 0 ? changing : parts),
    to: inputs.to,
    direction: inputs.direction,
    rollbackOf: inputs.rollbackOf,
    stageOnly: false,
    policy,
    nodeCount: parts.length,
    partsDigest: inputs.hash(parts.map((part) => inputs.hash(partText(part))).join('\n')),
    pointOfNoReturn:
      oneWay[0] === undefined
        ? ''
        : `the commit of the first node: migration ${oneWay[0]} has no way down, so going back after it needs the backup`,
    estimateMs: rounds * Math.max(0, ...changing.map((part) => part.estimateMs)),
  };
}

function oneWayIds(inputs: PlanInputs): Set<string> {
  return new Set(inputs.nodes.flatMap((node) => inputs.targetOf(node).oneWay));
}

function oldest(scheme: VersionScheme, parts: readonly PlanPart[]): string {
  const versions = parts.map((part) => part.from.version);
  if (versions.length === 0 || versions.includes(NONE)) return NONE;
  return versions
    .filter((version) => version !== '')
    .reduce(
      (low, version) => (scheme.compare(scheme.parse(version), scheme.parse(low)) < 0 ? version : low),
      versions.find((version) => version !== '') ?? NONE,
    );
}

function warningsOf({ policy, backups, nodes }: PlanInputs, parts: readonly PlanPart[]): string[] {
  const changing = parts.filter((part) => part.strategy !== 'none');
  const warnings: string[] = [];
  if (changing.length > 0 && policy.maxConcurrent >= nodes.length && nodes.length > 1) {
    warnings.push(`all ${nodes.length} nodes may be out of service at a time`);
  }
  if (changing.length > 1 && changing.every((part) => part.orderReason === 'canary')) {
    warnings.push('every node is a canary, so none goes before the others');
  }
  if (!backups.enabled && changing.length > 0) warnings.push('no backup is made: data cannot go back');
  const unhealthy = changing.filter((part) => part.orderReason === 'unhealthy').map((part) => part.node);
  if (unhealthy.length > 0)
    warnings.push(`${unhealthy.join(', ')} did not serve before the rollout, and go first`);
  return warnings;
}

function problemsOf(inputs: PlanInputs, chosen: readonly NodeFacts[], parts: readonly PlanPart[]): string[] {
  const problems: string[] = [];
  for (const node of chosen) {
    if (node.unknown || node.version === '') {
      problems.push(
        `${node.id} cannot be reached; start its agent, or leave it out with --exclude ${node.id}`,
      );
    }
  }
  const { canarySelector } = inputs.request;
  if (canarySelector !== '' && !chosen.some((node) => matches(node, canarySelector))) {
    problems.push(`no node is a canary by ${canarySelector}; plexictl nodes -o wide lists the labels`);
  }
  for (const part of parts) problems.push(...partProblems(inputs, part));
  if (inputs.stuck.length > inputs.policy.failureBudget) {
    problems.push(
      `${inputs.stuck.join(', ')} need an operator; look with plexictl status, or free them with plexictl node remove`,
    );
  }
  return problems;
}

function partProblems({ request, direction, backups }: PlanInputs, part: PlanPart): string[] {
  const problems: string[] = [];
  if (part.to.digest === '' && part.from.version !== '')
    problems.push(`release ${part.to.version} has no artifact for the platform of ${part.node}`);
  if (part.strategy === 'downgrade' && !request.downgrade && direction === 'forward') {
    problems.push(
      `${part.node} runs ${part.from.version}, which is newer; go back with plexictl downgrade --to ${part.to.version}`,
    );
  }
  if (
    part.strategy === 'upgrade' &&
    part.from.version !== '' &&
    request.downgrade &&
    direction === 'forward'
  ) {
    problems.push(
      `${part.node} runs ${part.from.version}, which is older; go on with plexictl rollout --to ${part.to.version}`,
    );
  }
  if (part.migrations.length > 0 && !backups.enabled) {
    problems.push(
      `${part.to.version} migrates the data of ${part.node}, and backups are off; turn on backup.enabled in update.yml`,
    );
  }
  return problems;
}
