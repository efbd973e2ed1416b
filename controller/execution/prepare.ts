/**
 * Gathers what a plan is made from: the nodes as etcd knows them, the releases as the repository has
 * them, the policy as it is configured. The plan itself is made by the pure core.
 */
import { PlexiError } from '../../config/errors.js';
import type { ControllerConfig } from '../../config/schema/controller.js';
import type { ReleaseRepository } from '../../release/repository/fetch.js';
import { NONE, versionScheme } from '../../release/version.js';
import type { EtcdEntry } from '../leadership/etcd.js';
import { isStuck } from '../rollout/budget.js';
import { makePlan } from '../rollout/plan.js';
import type { NodeFacts, PlannedRollout, TargetFacts } from '../rollout/plan-inputs.js';
import type { PlanPart, ReleaseRef, Rollout } from '../rollout/rollout.js';
import { readSlot } from '../state/codec.js';
import type { ClusterKeys } from '../state/keys.js';
import { sha256 } from '../state/load-world.js';
import { decode, leaderRecord } from '../state/records.js';
import type { RolloutWish } from '../state/wish-records.js';
import {
  clusterRule,
  hostOf,
  nodeFacts,
  policyOf,
  policyProblems,
  spreadOf,
  startProblems,
} from './cluster-facts.js';
import { sizeProblems } from './plan-size.js';
import {
  clusterMigrations,
  localTarget,
  manifestsOf,
  migrationProblems,
  resolveTarget,
  targetFacts,
} from './release-facts.js';
import { changedParts, type LeftNode, namesOf, oldestBefore, wayBackOf } from './way-back.js';

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
  const { repository, config, keys } = sources;
  const to = await resolveTarget(sources, wish.to);
  const nodes = nodeFacts(keys, entries);
  const scheme = versionScheme(config.versionScheme);
  const from = await manifestsOf(repository, [to, ...nodes.map((node) => node.version)]);
  // A restart takes what lies on the node: the repository need not have it.
  const isRestarted = (node: NodeFacts): boolean => wish.restart && node.version === to;
  const needsRelease = !nodes.some(isRestarted) || from.has(to);
  const published = needsRelease ? await repository.manifest(to) : undefined;
  const target = published && targetFacts(published.manifest, published.sha256, from, scheme);
  const planned = makePlan({
    ...shared(sources, entries, nodes),
    request: wish,
    direction: 'forward',
    rollbackOf: null,
    targetOf: (node) =>
      target === undefined || isRestarted(node)
        ? localTarget({ version: to, digest: isRestarted(node) ? node.digest : '' }, from, scheme)
        : target,
    to,
    policy: policyOf(config, wish),
  });
  const manifest = published?.manifest;
  return {
    ...planned,
    problems: [
      ...startProblems(keys, entries),
      ...planned.problems,
      ...sizeProblems(planned.plan),
      ...(manifest === undefined
        ? []
        : clusterMigrations(
            manifest,
            nodes.flatMap((node) => from.get(node.version) ?? []),
          )),
      ...(manifest !== undefined && config.update.safety.validateMigrations
        ? migrationProblems(manifest)
        : []),
    ],
  };
}

/**
 * Plans the way back of a finished rollout: every node that it changed and that can go back, to what it ran
 * before; warnings name the others. A node that something else has changed since is a problem, not a guess.
 */
export async function planRollback(
  sources: PlanSources,
  entries: readonly EtcdEntry[],
  rollout: Rollout,
): Promise<PlannedRollout> {
  const { header } = rollout.plan;
  if (changedParts(rollout).length === 0) throw nothingWasChanged(rollout);
  const facts = new Map(nodeFacts(sources.keys, entries).map((node) => [node.id, node]));
  const { able, left } = wayBackOf(rollout, facts, stuckNodes(sources.keys, entries));
  if (able.length === 0) throw nothingGoesBack(rollout, left);
  const byNode = new Map(able.map((part) => [part.node, part]));
  // All of them: a group is counted with those that stay as they are.
  const nodes = [...facts.values()];
  const targets = await rollbackTargets(sources, able, nodes);
  const planned = makePlan({
    ...shared(sources, entries, nodes),
    request: {
      ...noRequest,
      nodes: [...byNode.keys()],
      maxConcurrent: header.policy.maxConcurrent,
      downgrade: true,
    },
    direction: 'back',
    rollbackOf: rollout.id,
    leftOut: namesOf(left),
    targetOf(node) {
      const before = byNode.get(node.id)?.from ?? nothing;
      const target = targets.get(before.version);
      const isSame = target?.artifactFor(node.os, node.arch)?.digest === before.digest;
      return target !== undefined && isSame
        ? target
        : localTarget(before, targets.manifests, versionScheme(sources.config.versionScheme));
    },
    to: oldestBefore(able, versionScheme(sources.config.versionScheme)),
    policy: { ...header.policy, allowUnhealthy: true },
  });
  return {
    ...planned,
    warnings: [...left.map(({ why }) => why), ...planned.warnings],
    problems: [
      ...policyProblems(sources.keys, entries),
      ...planned.problems,
      ...sizeProblems(planned.plan),
      ...rollbackProblems(rollout, able, facts),
    ],
  };
}

/** What a node that has no part in the rollout ran before it: nothing is asked of it. */
const nothing: ReleaseRef = { version: NONE, digest: '' };

/** What nodes ran before, as far as the repository has it; the rest lies on the nodes themselves. */
async function rollbackTargets(
  sources: PlanSources,
  changed: readonly PlanPart[],
  nodes: readonly NodeFacts[],
) {
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
  return { get: (version: string) => targets.get(version), manifests };
}

/** A way back that came to nothing is said again of the rollout that it was for. */
function nothingWasChanged({ id, plan }: Rollout): PlexiError {
  const { to, rollbackOf } = plan.header;
  const before =
    rollbackOf === null ? '' : `; what it was to take back: plexictl rollback --update-id ${rollbackOf}`;
  return new PlexiError('CONFLICT', `${id} left no node on ${to}, so there is nothing to take back${before}`);
}

function nothingGoesBack(rollout: Rollout, left: readonly LeftNode[]): PlexiError {
  return left.length === 0
    ? new PlexiError('CONFLICT', `every node that ${rollout.id} changed runs what it ran before already`)
    : new PlexiError('CONFLICT', left.map(({ why }) => why).join('; '));
}

function rollbackProblems(
  rollout: Rollout,
  able: readonly PlanPart[],
  facts: ReadonlyMap<string, NodeFacts>,
): string[] {
  return able.flatMap(({ node, to }) => {
    const runs = facts.get(node);
    return runs === undefined || runs.digest === to.digest
      ? []
      : [
          `${node} runs ${runs.version} now, not what ${rollout.id} brought; take the later change back first`,
        ];
  });
}

const noRequest = {
  canary: 0,
  canarySelector: '',
  nodes: [],
  selectors: [],
  exclude: [],
  force: true,
  restart: false,
  reinstall: false,
  stageOnly: false,
};

function shared(sources: PlanSources, entries: readonly EtcdEntry[], nodes: readonly NodeFacts[]) {
  const { config, keys } = sources;
  const leader = entries.find((entry) => entry.key === keys.leader);
  const leaderAddress = leader === undefined ? '' : decode(leaderRecord, keys.leader, leader.value).address;
  return {
    nodes,
    stuck: stuckNodes(keys, entries),
    scheme: versionScheme(config.versionScheme),
    cluster: clusterRule(config),
    backups: { enabled: config.update.backup.enabled, always: config.update.behavior.autoBackup },
    spread: spreadOf(config),
    leaderHost: hostOf(leaderAddress),
    hash: sha256,
  };
}

/** Nodes that need an operator. */
function stuckNodes(keys: ClusterKeys, entries: readonly EtcdEntry[]): string[] {
  return entries
    .filter((entry) => entry.key.startsWith(keys.slots) && isStuck(entry.key.slice(keys.slots.length)))
    .map((entry) => readSlot(entry.key, entry.value).node);
}
