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
  isHttpUrl,
  isWildcard,
  log,
  longestMs,
  milliseconds,
  name,
  pathBelowRoot,
  repository,
  text,
  tlsFiles,
  versionScheme,
  whenFine,
} from './fields.js';

/** What stands in a node's root and is the agent's own; no backup may hold it. */
const ownEntries = ['releases', 'current', 'previous', 'trial', 'agent', 'run'];

const environment = z
  .record(
    z
      .string()
      .regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'is no name of an environment variable')
      .refine((key) => !key.startsWith('PLEXI_'), 'begins with PLEXI_, which is kept for the agent'),
    z
      .string()
      .max(32_768)
      .refine((value) => !value.includes('\0'), 'must not hold a NUL character'),
  )
  .refine((record) => Object.keys(record).length <= limits.environmentVariables, 'holds too many variables')
  .default({});

/** How the service is started and stopped. One entry for each adapter. */
const service = z.discriminatedUnion('adapter', [
  z.strictObject({ adapter: z.literal('process'), env: environment }),
]);

const httpProbe = z
  .strictObject({
    kind: z.literal('http'),
    url: text().refine(isHttpUrl, 'must be a URL that begins with http:// or https://'),
    status: z.int().min(100).max(599).default(200),
    version_field: text(256).optional(),
  })
  .transform((value) => ({
    kind: value.kind,
    url: value.url,
    status: value.status,
    versionField: value.version_field,
  }));

const tcpProbe = z.strictObject({ kind: z.literal('tcp'), address: hostPort() });

const backup = z
  .strictObject({
    paths: z
      .array(
        pathBelowRoot().refine((path) => !isOwnEntry(path), `is the agent's own and belongs in no backup`),
      )
      .min(1)
      .max(limits.backupPaths)
      .default([...defaults.nodeBackup.paths]),
    directory: pathBelowRoot()
      .refine((path) => !isOwnEntry(path), `is the agent's own; choose another folder`)
      .default(defaults.nodeBackup.directory),
    encryption: z.boolean().default(defaults.nodeBackup.encryption),
    keep: z.int().min(1).max(1_000).default(defaults.nodeBackup.keep),
    retention_days: z.int().min(0).max(3_650).default(defaults.nodeBackup.retentionDays),
  })
  .refine((value) => firstOverlap(value.paths) === undefined, {
    path: ['paths'],
    error: 'one of these paths holds another; name each file once',
    when: whenFine('paths'),
  })
  .refine(
    (value) => !value.paths.some((path) => holds(path, value.directory) || holds(value.directory, path)),
    {
      path: ['directory'],
      error: 'must stand outside of backup.paths, else a backup would hold the backups',
      when: whenFine('paths', 'directory'),
    },
  )
  .transform((value) => ({
    paths: value.paths,
    directory: value.directory,
    encryption: value.encryption,
    keep: value.keep,
    retentionDays: value.retention_days,
  }));

function isOwnEntry(path: string): boolean {
  return ownEntries.includes(path.split('/')[0] ?? '');
}

function holds(outer: string, inner: string): boolean {
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
      service,
      probes: z
        .array(z.discriminatedUnion('kind', [httpProbe, tcpProbe]))
        .min(1)
        .max(limits.probes),
      probe_interval_ms: milliseconds(10, 3_600_000).default(defaults.node.probeIntervalMs),
      maintenance: z.strictObject({ enter: argv().optional(), leave: argv().optional() }).default({}),
      backup: backup.prefault({}),
      register_interval_ms: milliseconds(100, longestMs).default(defaults.node.registerIntervalMs),
      log: log(),
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
      service: value.service,
      probes: value.probes,
      probeIntervalMs: value.probe_interval_ms,
      maintenance: { enter: value.maintenance.enter, leave: value.maintenance.leave },
      backup: value.backup,
      registerIntervalMs: value.register_interval_ms,
      log: value.log,
    }));
}

/** One node agent's configuration. */
export type NodeAgentConfig = z.output<ReturnType<typeof nodeAgentSchema>>;

/** How the agent tells whether the service is healthy. */
export type ProbeConfig = NodeAgentConfig['probes'][number];

/** How the service is started and stopped. */
export type ServiceConfig = NodeAgentConfig['service'];
