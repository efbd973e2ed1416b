/**
 * The plan: which nodes, from what, to what, in which order, with which migrations. Pure, so that the
 * dry run, the replica that shows it and the leader that starts it come to the same plan, and its
 * digest tells whether they did.
 */
import { NONE, type VersionScheme } from '../../release/version.js';
import { problemsOf, warningsOf } from './plan-check.js';
import { chooseNodes, orderNodes, type Placed } from './plan-order.js';
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
  /** Why it is not healthy; empty when it is. */
  readonly healthReason: string;
  /** Why an operator keeps rollouts away from it; null: he does not. */
  readonly held: string | null;
  /** An operator's order is under way on it, such as `adopt 3.0.0`; empty: none. */
  readonly order: string;
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
  /** Goes on in spite of what may be gone on in spite of; never of a digest, a lock, a quorum or a path. */
  readonly force: boolean;
  readonly downgrade: boolean;
  /** Nodes that run the target already are restarted. */
  readonly restart: boolean;
  /** Nodes that run the target already get it anew. */
  readonly reinstall: boolean;
  /** It ends once the release lies on every node. */
  readonly stageOnly: boolean;
}

/** What the policy says of the cluster as a whole (contract, section 7). */
export interface ClusterRule {
  /** clustering.enabled and behavior.cluster_coordination: more than one node is looked after. */
  readonly manyNodes: boolean;
  readonly coordination: boolean;
  /** clustering.rolling_updates; false: all nodes at once. */
  readonly rolling: boolean;
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
  readonly cluster: ClusterRule;
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
  const { chosen, problems, warnings } = chooseNodes(inputs);
  const ordered = orderNodes(inputs, chosen);
  const parts = ordered.map((entry, index) => planPart(inputs, entry, index));
  const header = planHeader(inputs, parts);
  const plan = { header, parts, digest: inputs.hash(JSON.stringify(header)) };
  const checked = problemsOf(inputs, chosen, plan);
  return {
    plan,
    warnings: [...warnings, ...warningsOf(inputs, plan), ...checked.forced],
    problems: [...problems, ...checked.problems],
  };
}

/** The bytes over which a part's place in the plan digest is counted. */
export function partText(part: PlanPart): string {
  return JSON.stringify(part);
}

function planPart(inputs: PlanInputs, placed: Placed, index: number): PlanPart {
  const { node } = placed;
  const target = inputs.targetOf(node);
  const artifact = target.artifactFor(node.os, node.arch);
  const from: ReleaseRef = { version: node.version, digest: node.digest };
  const to: ReleaseRef = { version: target.version, digest: artifact?.digest ?? '' };
  const strategy = strategyOf(inputs, from, to);
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

function strategyOf({ scheme, request }: PlanInputs, from: ReleaseRef, to: ReleaseRef): Strategy {
  if (from.version === NONE) return 'install';
  if (from.version === '') return 'upgrade';
  const order = scheme.compare(scheme.parse(from.version), scheme.parse(to.version));
  if (order === 0 && from.digest === to.digest) {
    if (request.reinstall) return 'reinstall';
    return request.restart ? 'restart' : 'none';
  }
  return order > 0 ? 'downgrade' : 'upgrade';
}

function planHeader(inputs: PlanInputs, parts: readonly PlanPart[]): PlanHeader {
  const changing = changingParts(parts);
  const policy = inputs.cluster.rolling
    ? inputs.policy
    : { ...inputs.policy, maxConcurrent: Math.max(1, changing.length) };
  const rounds = Math.ceil(changing.length / policy.maxConcurrent);
  const oneWay = changing
    .flatMap((part) => part.migrations.map((migration) => migration.id))
    .filter((id) => oneWayIds(inputs).has(id));
  return {
    from: oldest(inputs.scheme, changing.length > 0 ? changing : parts),
    to: inputs.to,
    direction: inputs.direction,
    rollbackOf: inputs.rollbackOf,
    stageOnly: inputs.request.stageOnly,
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

/** The parts of nodes that are to change. */
export function changingParts(parts: readonly PlanPart[]): PlanPart[] {
  return parts.filter((part) => part.strategy !== 'none');
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
