/**
 * The JSON documents of the contract (section 6), strictly: a key that is missing, and one that nobody
 * wrote down, are both a failure. Times are RFC 3339 in UTC.
 */
import { z } from 'zod';
import type { Ended } from './command-run.test.part.js';

const time = z.iso.datetime();
const digest = z.string().regex(/^[0-9a-f]{64}$/);
const rolloutPhase = z.enum([
  'planned',
  'preflight',
  'staging',
  'expanding',
  'rolling',
  'soaking',
  'finalizing',
  'succeeded',
  'paused',
  'rolling_back',
  'rolled_back',
  'aborted',
  'failed',
]);
const nodePhase = z.enum([
  'pending',
  'preflight',
  'staging',
  'ready',
  'entering_maintenance',
  'stopping',
  'backing_up',
  'migrating',
  'applying',
  'probing',
  'committing',
  'leaving_maintenance',
  'soaking',
  'done',
  'skipped',
  'rolling_back',
  'rolled_back',
  'rollback_failed',
]);

const leader = z.strictObject({
  id: z.string(),
  term: z.int().min(1),
  epoch: z.int().min(1),
});

const rolloutNode = z.strictObject({
  id: z.string(),
  phase: nodePhase,
  step: z.string().nullable(),
  attempt: z.int().min(0),
  version: z.string(),
  error: z.strictObject({ code: z.string(), message: z.string() }).nullable(),
  unknown: z.boolean(),
  waitingOn: z.array(z.strictObject({ reason: z.string(), since: time, unblock: z.string() })),
});

/** `plexictl status`, and what a followed rollout ends with. */
export const statusDocument = z.strictObject({
  cluster: z.string(),
  leader,
  freeze: z
    .strictObject({ reason: z.string().nullable(), by: z.string().nullable(), since: time.nullable() })
    .nullable(),
  rollout: z
    .strictObject({
      id: z.string().regex(/^(update|rollback_update)_\w+_\w+_\d{8}_\d{6}(_\d+)?$/),
      from: z.string(),
      to: z.string(),
      phase: rolloutPhase,
      reason: z.string().nullable(),
      startedAt: time,
      finishedAt: time.nullable(),
      planDigest: digest,
      counts: z.partialRecord(nodePhase, z.int().min(1)),
      nodes: z.array(rolloutNode),
    })
    .nullable(),
});

export const nodesDocument = z.strictObject({
  nodes: z.array(
    z.strictObject({
      id: z.string(),
      version: z.string(),
      digest,
      phase: z.string(),
      health: z.enum(['healthy', 'unhealthy', 'unknown']),
      unknown: z.boolean(),
      inService: z.boolean(),
      address: z.string().regex(/^127\.0\.0\.1:\d+$/),
      labels: z.record(z.string(), z.string()),
      since: time,
      inMaintenance: z.boolean(),
      held: z.string().nullable(),
      needsOperator: z.string().nullable(),
      healthReason: z.string().nullable(),
      outReason: z.string().nullable(),
      order: z.string().nullable(),
    }),
  ),
});

export const historyDocument = z.strictObject({
  rollouts: z.array(
    z.strictObject({
      id: z.string(),
      from: z.string(),
      to: z.string(),
      phase: rolloutPhase,
      reason: z.string().nullable(),
      startedAt: time,
      finishedAt: time.nullable(),
      startedBy: z.string(),
    }),
  ),
});

/** The contract leaves the plan open, beside these. */
export const planDocument = z.strictObject({
  plan: z.looseObject({
    digest,
    steps: z.array(z.string()),
    warnings: z.array(z.string()),
    problems: z.array(z.string()),
    pointOfNoReturn: z.string().nullable(),
    nodes: z.array(z.looseObject({ id: z.string() })),
  }),
});

const errorDocument = z.strictObject({
  error: z.strictObject({
    code: z.string(),
    message: z.string(),
    details: z.record(z.string(), z.unknown()),
  }),
});

/** The one document on stdout. Throws when there is anything else beside it. */
export function documentOf<S extends z.ZodType>(schema: S, { stdout, stderr }: Ended): z.output<S> {
  if (!/^[^\n]+\n$/.test(stdout)) throw new Error(`stdout is not one line: ${stdout}\n${stderr}`);
  return schema.parse(JSON.parse(stdout));
}

/** The error document on stderr's last line. */
export function errorOf({ stderr }: Ended): z.output<typeof errorDocument>['error'] {
  return errorDocument.parse(JSON.parse(stderr.trimEnd().split('\n').at(-1) ?? '')).error;
}
