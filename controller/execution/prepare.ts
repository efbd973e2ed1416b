/**
 * Gathers what a plan is made from: the nodes as etcd knows them, the releases as the repository has
 * them, the policy as it is configured. The plan itself is made by the pure core.
 */
import { PlexiError } from '../../config/errors.js';
import type { ControllerConfig } from '../../config/schema/controller.js';
import { artifactFor, migrationsBetween, type ReleaseManifest } from '../../release/manifest.js';
import type { ReleaseRepository } from '../../release/repository/fetch.js';
import { NONE, type VersionScheme, versionScheme } from '../../release/version.js';
import type { EtcdEntry } from '../leadership/etcd.js';
import { isStuck } from '../rollout/budget.js';
import { makePlan, type NodeFacts, type PlannedRollout, type TargetFacts } from '../rollout/plan.js';
import type { PlanPart, Rollout, RolloutPolicy } from '../rollout/rollout.js';
import { readSlot } from '../state/codec.js';
import type { ClusterKeys } from '../state/keys.js';
import { readNodes } from '../state/node-store.js';
import { activeRecord, decode, leaderRecord, type RolloutWish } from '../state/records.js';
import { sha256 } from '../state/world-store.js';

export interface PlanSources {
  readonly config: ControllerConfig;
  readonly keys: ClusterKeys;
  readonly repository: ReleaseRepository;
}

/** Plans a rollout to a version, or to `latest` or `stable`. */
export async function planRollout(
  sources: PlanSources,
  entries: readonly EtcdEntry[],
  wish: RolloutWish,
): Promise<PlannedRollout> {
  const to = await resolveTarget(sources, wish.to);
  const { manifest, sha256: manifestSha256 } = await sources.repository.manifest(to);
  const nodes = nodeFacts(sources.keys, entries);
  const from = await manifestsOf(
    sources.repository,
    nodes.map((node) => node.version),
  );
  const scheme = versionScheme(sources.config.versionScheme);
  const target = targetFacts(manifest, manifestSha256, from, scheme);
  const planned = makePlan({
    ...shared(sources, entries, nodes),
    request: wish,
    direction: 'forward',
    rollbackOf: null,
    targetOf: () => target,
    to: manifest.version,
    policy: policyOf(sources.config, wish.maxConcurrent),
  });
  return {
    ...planned,
    warnings: [...planned.warnings, ...skippedParts(manifest)],
    problems: [
      ...activeProblems(sources.keys, entries),
      ...planned.problems,
      ...clusterMigrations(manifest, [...from.values()]),
    ],
  };
}

/** What a release asks for and this version does not do is said, never skipped in silence. */
function skippedParts(manifest: ReleaseManifest): string[] {
  if (manifest.tests.length === 0) return [];
  const names = manifest.tests.map((test) => test.name).join(', ');
  return [`the tests of ${manifest.version} (${names}) are not run; run them by hand`];
}

/** A migration of the whole cluster that would have to run is a problem: only node-local ones are run. */
function clusterMigrations(target: ReleaseManifest, running: readonly ReleaseManifest[]): string[] {
  const known = new Set(running.flatMap((manifest) => manifest.migrations.map((migration) => migration.id)));
  const wanted = new Set(target.migrations.map((migration) => migration.id));
  return [target, ...running]
    .flatMap((manifest) => manifest.migrations)
    .filter(
      (migration) => migration.scope === 'cluster' && known.has(migration.id) !== wanted.has(migration.id),
    )
    .map(
      (migration) =>
        `migration ${migration.id} is for the whole cluster, and only migrations of a node's own data are run`,
    );
}

/** While a rollout is active no other one starts, and what its nodes run now says little. */
function activeProblems(keys: ClusterKeys, entries: readonly EtcdEntry[]): string[] {
  const active = entries.find((entry) => entry.key === keys.active);
  if (active === undefined) return [];
  const { rollout } = decode(activeRecord, keys.active, active.value);
  return [`${rollout} is active; follow it with plexictl watch, or end it with plexictl abort`];
}

/**
 * Plans the way back of a finished rollout: every node that it changed, to what it ran before. A node
 * that something else has changed since is a problem, not a guess.
 */
export async function planRollback(
  sources: PlanSources,
  entries: readonly EtcdEntry[],
  rollout: Rollout,
): Promise<PlannedRollout> {
  const { header, parts } = rollout.plan;
  const changed = parts.filter(
    (part) => rollout.nodes.get(part.node)?.state.phase === 'done' && part.strategy !== 'none',
  );
  if (changed.length === 0) {
    throw new PlexiError(
      'CONFLICT',
      `${rollout.id} left no node on ${header.to}, so there is nothing to take back`,
    );
  }
  const byNode = new Map(changed.map((part) => [part.node, part]));
  const nodes = nodeFacts(sources.keys, entries).filter((node) => byNode.has(node.id));
  const targets = await rollbackTargets(sources, changed, nodes);
  const planned = makePlan({
    ...shared(sources, entries, nodes),
    request: { ...noRequest, maxConcurrent: header.policy.maxConcurrent, downgrade: true },
    direction: 'back',
    rollbackOf: rollout.id,
    targetOf: (node) => {
      const facts = targets.get(byNode.get(node.id)?.from.version ?? '');
      if (facts !== undefined) return facts;
      throw new PlexiError(
        'RELEASE_NOT_FOUND',
        `what ${node.id} ran before ${rollout.id} is not in the repository; bring it back with plexictl release build`,
      );
    },
    to: header.from,
    policy: header.policy,
  });
  return { ...planned, problems: [...planned.problems, ...rollbackProblems(rollout, changed, nodes)] };
}

async function rollbackTargets(
  sources: PlanSources,
  changed: readonly PlanPart[],
  nodes: readonly NodeFacts[],
): Promise<Map<string, TargetFacts>> {
  const { repository, config } = sources;
  const before = new Set(changed.map((part) => part.from.version));
  const manifests = await manifestsOf(repository, [...before, ...nodes.map((node) => node.version)]);
  const targets = new Map<string, TargetFacts>();
  for (const version of before) {
    const manifest = manifests.get(version);
    if (manifest === undefined) continue;
    const { sha256: sum } = await repository.manifest(version);
    targets.set(version, targetFacts(manifest, sum, manifests, versionScheme(config.versionScheme)));
  }
  return targets;
}

function rollbackProblems(
  rollout: Rollout,
  changed: readonly PlanPart[],
  nodes: readonly NodeFacts[],
): string[] {
  return changed.flatMap((part) => {
    const node = nodes.find((candidate) => candidate.id === part.node);
    if (node === undefined) return [`${part.node} is not in the cluster any more`];
    if (part.from.version === NONE)
      return [`${part.node} ran nothing before ${rollout.id}; take it off with plexictl node remove`];
    return node.digest === part.to.digest
      ? []
      : [
          `${part.node} runs ${node.version} now, not what ${rollout.id} brought; take the later change back first`,
        ];
  });
}

const noRequest = { canary: 0, canarySelector: '', nodes: [], selectors: [], exclude: [], force: false };

function shared(sources: PlanSources, entries: readonly EtcdEntry[], nodes: readonly NodeFacts[]) {
  const { config, keys } = sources;
  const leader = entries.find((entry) => entry.key === keys.leader);
  const leaderAddress = leader === undefined ? '' : decode(leaderRecord, keys.leader, leader.value).address;
  const stuck = entries
    .filter((entry) => entry.key.startsWith(keys.slots) && isStuck(entry.key.slice(keys.slots.length)))
    .map((entry) => readSlot(entry.key, entry.value).node);
  return {
    nodes,
    stuck,
    scheme: versionScheme(config.versionScheme),
    backups: { enabled: config.update.backup.enabled, always: config.update.behavior.autoBackup },
    zoneLabel: config.zoneLabel,
    leaderHost: hostOf(leaderAddress),
    hash: sha256,
  };
}

async function resolveTarget({ repository, config }: PlanSources, wanted: string): Promise<string> {
  const scheme = versionScheme(config.versionScheme);
  if (wanted !== 'latest' && wanted !== 'stable') return scheme.parse(wanted).canonical;
  const versions = (await repository.list())
    .map((entry) => scheme.parse(entry.version))
    .filter((version) => wanted === 'latest' || version.stable);
  const newest = versions.sort((a, b) => scheme.compare(b, a))[0];
  if (newest === undefined)
    throw new PlexiError(
      'RELEASE_NOT_FOUND',
      `the repository has no ${wanted === 'stable' ? 'stable ' : ''}release; add one with plexictl release build`,
    );
  return newest.canonical;
}

/** The manifests that the repository has; a version from before the repository has none, and no migrations. */
async function manifestsOf(
  repository: ReleaseRepository,
  versions: readonly string[],
): Promise<Map<string, ReleaseManifest>> {
  const found = new Map<string, ReleaseManifest>();
  const listed = new Set((await repository.list()).map((entry) => entry.version));
  for (const version of new Set(versions)) {
    if (listed.has(version)) found.set(version, (await repository.manifest(version)).manifest);
  }
  return found;
}

/** @param manifests the releases that nodes run now, as far as the repository has them */
function targetFacts(
  manifest: ReleaseManifest,
  manifestSha256: string,
  manifests: ReadonlyMap<string, ReleaseManifest>,
  scheme: VersionScheme,
): TargetFacts {
  return {
    version: manifest.version,
    manifestSha256,
    artifactFor(os, arch) {
      const artifact = artifactFor(manifest, os, arch);
      return (
        artifact && {
          artifactSha256: artifact.sha256,
          digest: artifact.treeDigest,
          unpackedBytes: artifact.unpackedBytes,
        }
      );
    },
    migrationsFrom(version) {
      const current = manifests.get(version);
      return migrationsOnTheWay(version, current, manifest, scheme).filter((step) =>
        isNodeScope(step.id, manifest, current),
      );
    },
    oneWay: manifest.migrations
      .filter((migration) => migration.down.length === 0)
      .map((migration) => migration.id),
  };
}

/** Up when the target is newer than what runs, down when it is older: the versions say it, not the command. */
function migrationsOnTheWay(
  version: string,
  current: ReleaseManifest | undefined,
  target: ReleaseManifest,
  scheme: VersionScheme,
) {
  if (version === NONE || version === '') return migrationsBetween(undefined, target, 'forward');
  if (scheme.compare(scheme.parse(target.version), scheme.parse(version)) >= 0) {
    return migrationsBetween(current, target, 'forward');
  }
  if (current === undefined) {
    throw new PlexiError(
      'RELEASE_NOT_FOUND',
      `going back from ${version} needs its down-migrations, and the repository does not have ${version}`,
    );
  }
  return migrationsBetween(current, target, 'back');
}

function isNodeScope(id: string, ...manifests: readonly (ReleaseManifest | undefined)[]): boolean {
  return manifests.some((manifest) =>
    manifest?.migrations.some((migration) => migration.id === id && migration.scope === 'node'),
  );
}

export function nodeFacts(keys: ClusterKeys, entries: readonly EtcdEntry[]): NodeFacts[] {
  return readNodes(keys, entries)
    .filter((node) => !node.spec.removed)
    .map(({ id, spec, status }) => ({
      id,
      version: status?.version ?? '',
      digest: status?.digest ?? '',
      health: status?.health ?? 'unknown',
      unknown: status?.unknown ?? true,
      labels: spec.labels,
      host: hostOf(spec.address),
      os: status?.os ?? '',
      arch: status?.arch ?? '',
      inMaintenance: status?.inMaintenance ?? false,
    }));
}

function hostOf(address: string): string {
  return address.slice(0, Math.max(0, address.lastIndexOf(':')));
}

/** The policy of a rollout, from the configuration and the operator's wish. */
export function policyOf(config: ControllerConfig, maxConcurrent: number): RolloutPolicy {
  const { rollout, update } = config;
  return {
    maxConcurrent: maxConcurrent > 0 ? maxConcurrent : update.clustering.maxConcurrentNodes,
    soakMs: rollout.soakMs,
    failureBudget: rollout.failureBudget,
    rollbackOnFailure: update.safety.rollbackOnFailure,
    backupRule: {
      directory: update.backup.directory,
      encryption: update.backup.encryption,
      keep: rollout.backupKeep,
      retentionDays: update.backup.retentionDays,
    },
    maintenanceHooks: update.behavior.maintenanceMode,
    tests: update.safety.testAfterUpdate,
    restartByHand: !update.behavior.autoRestart,
    checkMigrations: update.safety.validateMigrations,
    allowUnhealthy: false,
    unknownMaxMs: update.clustering.coordinationTimeoutSeconds * 1_000,
    timeouts: rollout.timeouts,
    probe: rollout.probe,
  };
}
