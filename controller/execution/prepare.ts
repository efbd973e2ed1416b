/**
 * Gathers what a plan is made from: the nodes as etcd knows them, the releases as the repository has
 * them, the policy as it is configured. The plan itself is made by the pure core.
 */
import { PlexiError } from '../../config/errors.js';
import type { ControllerConfig } from '../../config/schema/controller.js';
import { artifactFor, migrationsBetween, type ReleaseManifest } from '../../release/manifest.js';
import type { ReleaseRepository } from '../../release/repository/fetch.js';
import { NONE, versionScheme } from '../../release/version.js';
import type { EtcdEntry } from '../leadership/etcd.js';
import { isStuck } from '../rollout/budget.js';
import { makePlan, type NodeFacts, type PlannedRollout, type TargetFacts } from '../rollout/plan.js';
import type { Direction, Rollout, RolloutPolicy } from '../rollout/rollout.js';
import { readSlot } from '../state/codec.js';
import type { ClusterKeys } from '../state/keys.js';
import { readNodes } from '../state/node-store.js';
import { decode, leaderRecord, type RolloutWish } from '../state/records.js';
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
  const target = targetFacts(manifest, manifestSha256, (version) => from.get(version), 'forward');
  return makePlan({
    ...shared(sources, entries, nodes),
    request: wish,
    direction: 'forward',
    rollbackOf: null,
    targetOf: () => target,
    to: manifest.version,
    policy: policyOf(sources.config, wish.maxConcurrent),
  });
}

/** Plans the way back of a finished rollout: every node that it brought forward, to what it ran before. */
export async function planRollback(
  sources: PlanSources,
  entries: readonly EtcdEntry[],
  rollout: Rollout,
): Promise<PlannedRollout> {
  const { plan } = rollout;
  const touched = plan.parts.filter(
    (part) => rollout.nodes.get(part.node)?.state.phase === 'done' && part.strategy !== 'none',
  );
  const versions = [...touched.map((part) => part.from.version), plan.header.to];
  const manifests = await manifestsOf(sources.repository, versions);
  const sums = new Map<string, string>();
  for (const version of new Set(touched.map((part) => part.from.version))) {
    if (version !== NONE) sums.set(version, (await sources.repository.manifest(version)).sha256);
  }
  const newer = manifests.get(plan.header.to);
  const targets = new Map<string, TargetFacts>(
    touched.flatMap((part) => {
      const manifest = manifests.get(part.from.version);
      const facts = manifest && targetFacts(manifest, sums.get(part.from.version) ?? '', () => newer, 'back');
      return facts === undefined ? [] : [[part.node, facts]];
    }),
  );
  const names = new Set(targets.keys());
  const nodes = nodeFacts(sources.keys, entries).filter((node) => names.has(node.id));
  return makePlan({
    ...shared(sources, entries, nodes),
    request: { ...noRequest, maxConcurrent: plan.header.policy.maxConcurrent, downgrade: true },
    direction: 'back',
    rollbackOf: rollout.id,
    targetOf: (node) => {
      const facts = targets.get(node.id);
      if (facts === undefined)
        throw new PlexiError(
          'RELEASE_NOT_FOUND',
          `what ${node.id} ran before is not in the repository any more`,
        );
      return facts;
    },
    to: plan.header.from,
    policy: plan.header.policy,
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

function targetFacts(
  manifest: ReleaseManifest,
  manifestSha256: string,
  other: (version: string) => ReleaseManifest | undefined,
  direction: Direction,
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
    migrationsFrom: (version) =>
      migrationsBetween(version === NONE ? undefined : other(version), manifest, direction).filter((step) =>
        isNodeScope(step.id, manifest, other(version)),
      ),
    oneWay: manifest.migrations
      .filter((migration) => migration.down.length === 0)
      .map((migration) => migration.id),
  };
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
    backup: update.backup.enabled,
    maintenanceHooks: update.behavior.maintenanceMode,
    unknownMaxMs: update.clustering.coordinationTimeoutSeconds * 1_000,
    timeouts: rollout.timeouts,
    probe: rollout.probe,
  };
}
