/**
 * The plan: which nodes, from what, to what, in which order, with which migrations. Pure, so that the
 * dry run, the replica that shows it and the leader that starts it come to the same plan, and its
 * digest tells whether they did.
 */
import { NONE, type VersionScheme } from '../../release/version.js';
import { problemsOf, warningsOf } from './plan-check.js';
import type { PlanInputs, PlannedRollout } from './plan-inputs.js';
import { chooseNodes, orderNodes, type Placed } from './plan-order.js';
import type { PlanHeader, PlanPart, ReleaseRef, Strategy } from './rollout.js';

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
  // The same version under another digest: somebody changed it by hand, which a new copy is to undo.
  if (order === 0 && request.reinstall) return 'reinstall';
  if (order === 0 && from.digest === to.digest) return request.restart ? 'restart' : 'none';
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
    leftOut: inputs.leftOut ?? [],
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
