/**
 * node-agent.yml: one node. Invariant: what passed can run: a way to tell health exists (missing data
 * would fail every gate), a backup never holds itself, and controllers can dial the address.
 */
import * as z from 'zod';
import { defaults } from '../defaults.js';
import { limits } from '../limits.js';
import {
  argv,
  controllers,
  filePath,
  hostPort,
  isWildcard,
  log,
  longestMs,
  milliseconds,
  name,
  pathBelowRoot,
  repository,
  tlsFiles,
  versionScheme,
  whenFine,
} from './fields.js';
import { probes } from './probes.js';
import { secrets } from './secrets.js';
import { service, serviceConfig, services } from './service.js';

/** What stands in a node's root and is the agent's own; no backup may hold it. */
const ownEntries = ['releases', 'current', 'previous', 'trial', 'agent', 'run'];

const backup = z
  .strictObject({
    paths: z
      .array(
        pathBelowRoot().refine((path) => !isOwnEntry(path), `is the agent's own and belongs in no backup`),
      )
      .min(1)
      .max(limits.backupPaths)
      .default([...defaults.nodeBackup.paths]),
  })
  .refine((value) => firstOverlap(value.paths) === undefined, {
    path: ['paths'],
    error: 'one of these paths holds another; name each file once',
    when: whenFine('paths'),
  })
  .transform((value) => ({ paths: value.paths }));

/** What a node does that no controller looks after any more, in the middle of an upgrade. */
const orphan = z.strictObject({
  after_ms: milliseconds(1_000, longestMs).default(defaults.node.orphan.afterMs),
  action: z.enum(['roll_back', 'hold']).default(defaults.node.orphan.action),
});

/** Whether a path below the root is one of the agent's own; no backup may hold it, or stand in it. */
export function isOwnEntry(path: string): boolean {
  return ownEntries.includes(path.split('/')[0] ?? '');
}

/** Whether a path is another one, or holds it. */
export function holds(outer: string, inner: string): boolean {
  return inner === outer || inner.startsWith(`${outer}/`);
}

function firstOverlap(paths: readonly string[]): string | undefined {
  return paths.find((path, at) => paths.some((other, otherAt) => at !== otherAt && holds(other, path)));
}

/** The schema of node-agent.yml; relative paths are taken from `folder`. */
export function nodeAgentSchema(folder: string) {
  return z
    .strictObject({
      cluster: name(),
      node: name(),
      root: filePath(folder).refine((path) => path !== '/', 'must be a folder of its own, not /'),
      listen: hostPort(),
      address: hostPort().optional(),
      controllers: controllers(),
      tls: tlsFiles(folder),
      repository: repository(folder),
      version_scheme: versionScheme(),
      service: service(folder).optional(),
      services: services(folder).optional(),
      probes: probes(folder),
      secrets: secrets(folder),
      probe_interval_ms: milliseconds(10, 3_600_000).default(defaults.node.probeIntervalMs),
      maintenance: z.strictObject({ enter: argv().optional(), leave: argv().optional() }).default({}),
      backup: backup.prefault({}),
      orphan: orphan.prefault({}),
      register_interval_ms: milliseconds(100, longestMs).default(defaults.node.registerIntervalMs),
      log: log(),
    })
    .refine((value) => value.service !== undefined || value.services !== undefined, {
      path: ['service'],
      error: 'is missing; say how the service is started, or name several under services',
      when: whenFine('service', 'services'),
    })
    .refine((value) => value.service === undefined || value.services === undefined, {
      path: ['services'],
      error: 'stands beside service; name the one service there, or all of them here',
      when: whenFine('service', 'services'),
    })
    .refine((value) => value.address !== undefined || !isWildcard(value.listen), {
      path: ['address'],
      error: 'is missing; listen names every interface, so say here what the controllers dial',
      when: whenFine('listen', 'address'),
    })
    .refine((value) => value.address === undefined || !isWildcard(value.address), {
      path: ['address'],
      error: 'must be an address that controllers can dial',
      when: whenFine('address'),
    })
    .transform((value) => ({
      cluster: value.cluster,
      node: value.node,
      root: value.root,
      listen: value.listen,
      address: value.address ?? value.listen,
      controllers: value.controllers,
      tls: value.tls,
      repository: value.repository,
      versionScheme: value.version_scheme,
      services:
        value.services?.map((entry) => serviceConfig(entry.name, entry)) ??
        (value.service === undefined ? [] : [serviceConfig('service', value.service)]),
      secrets: value.secrets,
      probes: value.probes,
      probeIntervalMs: value.probe_interval_ms,
      maintenance: { enter: value.maintenance.enter, leave: value.maintenance.leave },
      backup: value.backup,
      orphan: { afterMs: value.orphan.after_ms, action: value.orphan.action },
      registerIntervalMs: value.register_interval_ms,
      log: value.log,
    }));
}

/** One node agent's configuration. */
export type NodeAgentConfig = z.output<ReturnType<typeof nodeAgentSchema>>;
