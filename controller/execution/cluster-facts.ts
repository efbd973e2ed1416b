/**
 * The cluster as etcd knows it, as a plan needs it: its nodes, what keeps any rollout from starting,
 * and the policy that this controller loaded.
 */
import type { ControllerConfig } from '../../config/schema/controller.js';
import type { EtcdEntry } from '../leadership/etcd.js';
import type { ClusterRule, NodeFacts } from '../rollout/plan-inputs.js';
import type { RolloutPolicy } from '../rollout/rollout.js';
import type { NodeOrder, Spread } from '../rollout/world.js';
import { readHold, readOrder } from '../state/codec.js';
import type { ClusterKeys } from '../state/keys.js';
import { ofNodes, sha256 } from '../state/load-world.js';
import { readNodes } from '../state/node-store.js';
import { activeRecord, controllerRecord, decode, freezeRecord, timeText } from '../state/records.js';

/** What keeps every rollout from starting now, one sentence each. */
export function startProblems(keys: ClusterKeys, entries: readonly EtcdEntry[]): string[] {
  return [
    ...activeProblems(keys, entries),
    ...freezeProblems(keys, entries),
    ...policyProblems(keys, entries),
  ];
}

/** While a rollout is active no other one starts, and what its nodes run now says little. */
function activeProblems(keys: ClusterKeys, entries: readonly EtcdEntry[]): string[] {
  const active = entries.find((entry) => entry.key === keys.active);
  if (active === undefined) return [];
  const { rollout } = decode(activeRecord, keys.active, active.value);
  return [`${rollout} is active; follow it with plexictl watch, or end it with plexictl abort`];
}

/** The freeze that is on; undefined when there is none. */
export function freezeOf(keys: ClusterKeys, entries: readonly EtcdEntry[]) {
  const entry = entries.find((candidate) => candidate.key === keys.freeze);
  return entry && decode(freezeRecord, entry.key, entry.value);
}

function freezeProblems(keys: ClusterKeys, entries: readonly EtcdEntry[]): string[] {
  const freeze = freezeOf(keys, entries);
  if (freeze === undefined) return [];
  return [
    `the cluster is frozen by ${freeze.by} since ${timeText(freeze.since)}: ${freeze.reason}; end it with plexictl freeze off`,
  ];
}

/** The controllers that live, by name. */
export function liveControllers(keys: ClusterKeys, entries: readonly EtcdEntry[]) {
  return entries
    .filter((entry) => entry.key.startsWith(keys.controllers))
    .map((entry) => ({
      id: entry.key.slice(keys.controllers.length),
      ...decode(controllerRecord, entry.key, entry.value),
    }));
}

/** All controllers load the same policy; else the next leader would go on by other rules (protocol, rule 26). */
export function policyProblems(keys: ClusterKeys, entries: readonly EtcdEntry[]): string[] {
  const byDigest = new Map<string, string[]>();
  for (const { id, policyDigest } of liveControllers(keys, entries)) {
    byDigest.set(policyDigest, [...(byDigest.get(policyDigest) ?? []), id]);
  }
  if (byDigest.size <= 1) return [];
  const groups = [...byDigest].map(([digest, ids]) => `${ids.join(', ')}: ${digest.slice(0, 12)}`);
  return [
    `the controllers do not load the same policy (${groups.join('; ')}); give all of them the same update.yml and the same rollout section, and restart those that differ`,
  ];
}

/** SHA-256 over everything in this controller's configuration that decides how a rollout goes. */
export function policyDigest({ update, rollout, versionScheme, zoneLabel }: ControllerConfig): string {
  return sha256(JSON.stringify({ update, rollout, versionScheme, zoneLabel }));
}

/** The nodes that are in the cluster. */
export function nodeFacts(keys: ClusterKeys, entries: readonly EtcdEntry[]): NodeFacts[] {
  const holds = ofNodes(keys, entries, 'hold', readHold);
  const orders = ofNodes(keys, entries, 'order', readOrder);
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
      healthReason: status?.healthReason ?? '',
      held: holds.get(id)?.reason ?? null,
      order: openOrderText(orders.get(id)),
    }));
}

/** `adopt 3.0.0`: the order that is under way on a node; empty when none is. */
function openOrderText(order: NodeOrder | undefined): string {
  return order?.state === 'open' ? `${order.kind} ${order.version}` : '';
}

/** The host of HOST:PORT. */
export function hostOf(address: string): string {
  return address.slice(0, Math.max(0, address.lastIndexOf(':')));
}

/** What limits which nodes may be out at the same time, from the configuration. */
export function spreadOf({ rollout, zoneLabel }: ControllerConfig): Spread {
  return { maxPerZone: rollout.maxPerZone, zoneLabel, groups: rollout.groups };
}

/** The policy of a rollout, from the configuration and the operator's wish. */
export function policyOf(
  config: ControllerConfig,
  wish: { readonly maxConcurrent: number; readonly force: boolean; readonly skipTests: boolean },
): RolloutPolicy {
  const { maxConcurrent } = wish;
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
    tests: update.safety.testAfterUpdate && !wish.skipTests,
    restartByHand: !update.behavior.autoRestart,
    checkMigrations: update.safety.validateMigrations,
    allowUnhealthy: wish.force,
    unknownMaxMs: update.clustering.coordinationTimeoutSeconds * 1_000,
    timeouts: rollout.timeouts,
    probe: rollout.probe,
  };
}

/** What the policy says of the cluster as a whole. */
export function clusterRule({ update }: ControllerConfig): ClusterRule {
  return {
    manyNodes: update.clustering.enabled,
    coordination: update.behavior.clusterCoordination,
    rolling: update.clustering.rollingUpdates,
  };
}
