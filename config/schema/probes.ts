/**
 * How the agent tells whether the service is healthy. Invariant: a probe that passed here can be
 * asked: it has an address, a program, or a bound to compare with.
 */
import * as z from 'zod';
import { limits } from '../limits.js';
import { argv, filePath, hostPort, isHttpUrl, text } from './fields.js';

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

/** Exit code 0 is good; the version that should run is in PLEXI_EXPECTED_VERSION. */
const commandProbe = z.strictObject({ kind: z.literal('command'), argv: argv() });

/** grpc.health.v1; without `tls` in plain text. */
function grpcProbe(folder: string) {
  return z
    .strictObject({
      kind: z.literal('grpc'),
      address: hostPort(),
      service: z.string().max(limits.argvChars).default(''),
      tls: z
        .strictObject({ ca: filePath(folder), server_name: text(253).optional() })
        .transform((value) => ({ ca: value.ca, serverName: value.server_name }))
        .optional(),
    })
    .transform((value) => ({
      kind: value.kind,
      address: value.address,
      service: value.service,
      tls: value.tls,
    }));
}

/** What the service's processes may use together. */
const resourcesProbe = z
  .strictObject({
    kind: z.literal('resources'),
    memory_mb_max: z.int().min(1).max(16_777_216).optional(),
    open_files_max: z.int().min(1).max(100_000_000).optional(),
  })
  .refine((value) => value.memory_mb_max !== undefined || value.open_files_max !== undefined, {
    error: 'bounds nothing; give memory_mb_max, open_files_max, or both',
  })
  .transform((value) => ({
    kind: value.kind,
    memoryMbMax: value.memory_mb_max,
    openFilesMax: value.open_files_max,
  }));

/** All probes of a node. One at least asks the service itself: bounds alone prove no health. */
export function probes(folder: string) {
  return z
    .array(
      z.discriminatedUnion('kind', [httpProbe, tcpProbe, commandProbe, grpcProbe(folder), resourcesProbe]),
    )
    .min(1)
    .max(limits.probes)
    .refine(
      (list) => list.some((probe) => probe.kind !== 'resources'),
      'bounds what the service may use, and asks nothing of it; add an http, tcp, grpc or command probe',
    );
}

/** How the agent tells whether the service is healthy. */
export type ProbeConfig = z.output<ReturnType<typeof probes>>[number];
