/**
 * controller.yml: one controller replica. Invariant: what passed can run: the lease outlives its
 * margin, the probes fit into their time, and others can dial the address.
 */
import * as z from 'zod';
import { defaults } from '../defaults.js';
import { limits } from '../limits.js';
import {
  filePath,
  hostPort,
  isWildcard,
  log,
  longestMs,
  milliseconds,
  name,
  repository,
  text,
  tlsFiles,
  versionScheme,
  whenFine,
} from './fields.js';
import type { UpdateConfig } from './update.js';

const leadership = z
  .strictObject({
    ttl_seconds: z.int().min(2).max(300).default(defaults.leadership.ttlSeconds),
    margin_ms: milliseconds(1, 300_000).default(defaults.leadership.marginMs),
  })
  .refine((value) => value.margin_ms * 3 < value.ttl_seconds * 2_000, {
    path: ['margin_ms'],
    error: ({ input }) =>
      `must be below two thirds of ttl_seconds (${leaseText(input)}), since the lease is renewed every third of it`,
    when: whenFine('margin_ms', 'ttl_seconds'),
  })
  .transform((value) => ({ ttlSeconds: value.ttl_seconds, marginMs: value.margin_ms }));

function leaseText(input: unknown): string {
  const parsed = z.object({ ttl_seconds: z.number(), margin_ms: z.number() }).safeParse(input);
  if (!parsed.success) return 'as set';
  return `${Math.floor((parsed.data.ttl_seconds * 2_000) / 3)} ms; it is ${parsed.data.margin_ms} ms`;
}

const timeouts = z
  .strictObject({
    preflight_ms: milliseconds(100, longestMs).default(defaults.timeouts.preflightMs),
    stage_ms: milliseconds(100, longestMs).default(defaults.timeouts.stageMs),
    maintenance_ms: milliseconds(100, longestMs).default(defaults.timeouts.maintenanceMs),
    stop_ms: milliseconds(100, longestMs).default(defaults.timeouts.stopMs),
    backup_ms: milliseconds(100, longestMs).default(defaults.timeouts.backupMs),
    migrate_ms: milliseconds(100, longestMs).default(defaults.timeouts.migrateMs),
    apply_ms: milliseconds(100, longestMs).default(defaults.timeouts.applyMs),
    probe_ms: milliseconds(100, longestMs).default(defaults.timeouts.probeMs),
    test_ms: milliseconds(100, longestMs).default(defaults.timeouts.testMs),
    rollback_ms: milliseconds(100, longestMs).default(defaults.timeouts.rollbackMs),
  })
  .transform((value) => ({
    preflightMs: value.preflight_ms,
    stageMs: value.stage_ms,
    maintenanceMs: value.maintenance_ms,
    stopMs: value.stop_ms,
    backupMs: value.backup_ms,
    migrateMs: value.migrate_ms,
    applyMs: value.apply_ms,
    probeMs: value.probe_ms,
    testMs: value.test_ms,
    rollbackMs: value.rollback_ms,
  }));

const probe = z
  .strictObject({
    good_in_a_row: z.int().min(1).max(1_000).default(defaults.probe.goodInARow),
    spacing_ms: milliseconds(0, 600_000).default(defaults.probe.spacingMs),
    interval_max_ms: milliseconds(10, 600_000).default(defaults.probe.intervalMaxMs),
    try_ms: milliseconds(10, 600_000).default(defaults.probe.tryMs),
  })
  .refine((value) => value.spacing_ms <= value.interval_max_ms, {
    path: ['spacing_ms'],
    error: 'must not be greater than interval_max_ms',
    when: whenFine('spacing_ms', 'interval_max_ms'),
  })
  .transform((value) => ({
    goodInARow: value.good_in_a_row,
    spacingMs: value.spacing_ms,
    intervalMaxMs: value.interval_max_ms,
    tryMs: value.try_ms,
  }));

const group = z
  .strictObject({
    name: name(),
    labels: z
      .record(text(limits.nameChars), text(limits.nameChars))
      .refine((labels) => Object.keys(labels).length > 0, 'names no label, so every node would be a member'),
    min_available: z.int().min(1).max(limits.nodes),
  })
  .transform((value) => ({ name: value.name, labels: value.labels, minAvailable: value.min_available }));

const rollout = z
  .strictObject({
    soak_ms: milliseconds(0, longestMs).default(defaults.rollout.soakMs),
    failure_budget: z.int().min(0).max(limits.nodes).default(defaults.rollout.failureBudget),
    canary: z.int().min(0).max(limits.nodes).default(defaults.rollout.canary),
    max_per_zone: z.int().min(1).max(limits.nodes).optional(),
    groups: z
      .array(group)
      .max(limits.quorumGroups)
      .refine((all) => new Set(all.map((it) => it.name)).size === all.length, 'names the same group twice')
      .default([]),
    backup_keep: z.int().min(1).max(1_000).default(defaults.rollout.backupKeep),
    timeouts: timeouts.prefault({}),
    probe: probe.prefault({}),
  })
  .refine((value) => (value.probe.goodInARow - 1) * value.probe.spacingMs < value.timeouts.probeMs, {
    path: ['probe', 'good_in_a_row'],
    error: 'so many samples at this spacing_ms do not fit into timeouts.probe_ms; lower it or raise probe_ms',
    when: whenFine('probe', 'timeouts'),
  })
  .transform((value) => ({
    soakMs: value.soak_ms,
    failureBudget: value.failure_budget,
    canary: value.canary,
    maxPerZone: value.max_per_zone ?? null,
    groups: value.groups,
    backupKeep: value.backup_keep,
    timeouts: value.timeouts,
    probe: value.probe,
  }));

function etcd(folder: string) {
  return z.strictObject({
    endpoints: z
      .array(text().refine(isHttpsEndpoint, 'must be https://HOST:PORT, without a path'))
      .min(1)
      .max(limits.etcdEndpoints)
      .refine((list) => new Set(list).size === list.length, 'names the same endpoint twice'),
    tls: tlsFiles(folder),
  });
}

function isHttpsEndpoint(value: string): boolean {
  if (!URL.canParse(value)) return false;
  const url = new URL(value);
  return (
    url.protocol === 'https:' &&
    url.username === '' &&
    url.search === '' &&
    url.pathname === '/' &&
    !value.endsWith('/')
  );
}

/** The schema of controller.yml; relative paths are taken from `folder`. */
export function controllerSchema(folder: string) {
  return z
    .strictObject({
      cluster: name(),
      id: name(),
      listen: hostPort(),
      address: hostPort().optional(),
      http: z.strictObject({ listen: hostPort() }).optional(),
      tls: tlsFiles(folder),
      etcd: etcd(folder),
      repository: repository(folder),
      version_scheme: versionScheme(),
      update_file: filePath(folder).optional(),
      zone_label: text(limits.nameChars).default(defaults.zoneLabel),
      leadership: leadership.prefault({}),
      rollout: rollout.prefault({}),
      log: log(),
    })
    .refine((value) => value.address !== undefined || !isWildcard(value.listen), {
      path: ['address'],
      error: 'is missing; listen names every interface, so say here what the others dial',
      when: whenFine('listen', 'address'),
    })
    .refine((value) => value.address === undefined || !isWildcard(value.address), {
      path: ['address'],
      error: 'must be an address that others can dial',
      when: whenFine('address'),
    })
    .refine((value) => value.http?.listen !== value.listen, {
      path: ['http', 'listen'],
      error: 'must differ from listen, which is for gRPC',
      when: whenFine('listen', 'http'),
    })
    .transform((value) => ({
      cluster: value.cluster,
      id: value.id,
      listen: value.listen,
      address: value.address ?? value.listen,
      http: value.http,
      tls: value.tls,
      etcd: value.etcd,
      repository: value.repository,
      versionScheme: value.version_scheme,
      updateFile: value.update_file,
      zoneLabel: value.zone_label,
      leadership: value.leadership,
      rollout: value.rollout,
      log: value.log,
    }));
}

/** What controller.yml says, without the policy of update.yml. */
export type ControllerFile = z.output<ReturnType<typeof controllerSchema>>;

/** One controller replica's configuration. */
export type ControllerConfig = ControllerFile & { update: UpdateConfig };
