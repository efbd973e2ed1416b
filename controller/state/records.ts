/**
 * The values in etcd: JSON that a person can read. What is read is checked; what is not understood is
 * kept when the value is written again, so that an older controller never drops what a newer one
 * wrote (semantics S20). Times are RFC 3339 UTC.
 */
import { z } from 'zod';
import { PlexiError } from '../../config/errors.js';
import { rolloutPhases } from '../rollout/rollout.js';

const timeOf = z.iso.datetime();
const time = timeOf.transform((text) => Date.parse(text));
/** A number of 64 bits as text, because a double cannot count so far. */
const digits = z.string().regex(/^\d{1,20}$/);
const revision = z.union([digits, z.number().int().min(0)]).transform(String);
// What is told to clients and agents must fit the protocol's own numbers: here, and not where it is sent.
export const count = z.number().int().min(0).max(0xffff_ffff);
const countFromOne = count.min(1);
const milliseconds = z.number().int().min(0);
const release = z.object({ version: z.string(), digest: z.string() });
export const fault = z.object({ code: z.string(), message: z.string() });

/** The last terms, newest last; what a later controller says of its term stays with it. */
export const lineageRecord = z.object({
  terms: z.array(
    z.looseObject({ term: digits, nonce: z.string(), audit: z.number().int().min(1).optional() }),
  ),
});

export const leaderRecord = z.object({
  id: z.string(),
  address: z.string(),
  epoch: z.number().int().min(0),
  since: z.string(),
});

export const budgetRecord = z.object({ max: countFromOne, generation: z.number().int().min(0) });

export const epochRecord = z.object({
  epoch: z.number().int().min(1),
  /** An operator raised it, and not every node was adopted since. */
  recovering: z.boolean().default(false),
});

export const restoredRecord = z.object({ reason: z.string() });

export const nodeEpochRecord = z.object({ epoch: z.number().int() });

export const activeRecord = z.object({ rollout: z.string() });

export const slotRecord = z.object({
  node: z.string(),
  reason: z.string(),
  rollout: z.string(),
  term: revision,
  since: time,
  maintenance: z
    .object({
      wanted: z.enum(['in', 'out']),
      attempt: count,
      reason: z.string(),
      failed: z.boolean(),
      done: z.boolean().default(false),
    })
    .nullable()
    .default(null),
});

export const freezeRecord = z.object({ reason: z.string(), by: z.string(), since: time });

export const controllerRecord = z.object({
  address: z.string(),
  version: z.string(),
  policyDigest: z.string(),
  since: time,
});

export const holdRecord = z.object({ reason: z.string(), by: z.string(), since: time });

export const orderRecord = z.object({
  kind: z.enum(['adopt', 'confirm']),
  version: z.string(),
  directory: z.string(),
  reason: z.string(),
  by: z.string(),
  since: time,
  state: z.enum(['open', 'done', 'failed']),
  message: z.string(),
  digest: z.string(),
});

export const nodeSpecRecord = z.object({
  address: z.string(),
  labels: z.record(z.string(), z.string()).default({}),
  /** Of the certificate that registered; empty for one that an operator added. */
  fingerprint: z.string().default(''),
  installId: z.string().default(''),
  counter: digits.default('0'),
  /** A tombstone: the node was removed, and is refused until it is added again. */
  removed: z.boolean().default(false),
});
export type NodeSpec = z.infer<typeof nodeSpecRecord>;

export const nodeStatusRecord = z.object({
  version: z.string(),
  digest: z.string(),
  phase: z.string(),
  health: z.enum(['healthy', 'unhealthy', 'unknown']),
  healthReason: z.string().default(''),
  unknown: z.boolean(),
  inMaintenance: z.boolean().default(false),
  /** Why the node itself asks for an operator; empty: it does not. */
  needsOperator: z.string().default(''),
  /** No leader has adopted the node since it came to the list. */
  joined: z.boolean().default(false),
  agentVersion: z.string().default(''),
  os: z.string().default(''),
  arch: z.string().default(''),
  since: timeOf,
});
export type NodeStatusValue = z.infer<typeof nodeStatusRecord>;

const course = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('forward') }),
  z.object({ kind: z.literal('paused'), by: z.enum(['operator', 'failure']), reason: z.string() }),
  z.object({ kind: z.literal('aborting'), reason: z.string() }),
  z.object({ kind: z.literal('back'), reason: z.string() }),
  z.object({ kind: z.literal('called_off'), reason: z.string() }),
]);

export const rolloutStateRecord = z.object({
  phase: z.enum(rolloutPhases),
  reason: z.string(),
  counts: z.record(z.string(), z.number()),
  term: revision,
  course,
  startedAt: time,
  startedBy: z.string(),
  requestId: z.string(),
  finishedAt: time.nullable(),
  exitCode: count.nullable(),
  forgiven: z.array(z.string()),
});
export type RolloutStateValue = z.infer<typeof rolloutStateRecord>;

export const rolloutNodeRecord = z.object({
  phase: z.enum([
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
  ]),
  step: z.enum(['', 'preflight', 'stage', 'upgrade', 'roll_back', 'revert']),
  attempt: count,
  commandId: z.string(),
  since: time,
  error: fault.nullable(),
  ended: z
    .object({
      commandId: z.string(),
      outcome: z.enum(['done', 'failed', 'rolled_back', 'rollback_failed', 'given_up']),
    })
    .nullable()
    .default(null),
  waitingOn: z.array(z.object({ reason: z.string(), since: time, unblock: z.string() })),
  unknown: z.boolean(),
  unknownSince: time.nullable(),
  /** What counted of that time, until then. */
  unknownForMs: z.number().min(0).default(0),
  unknownCountedAt: time.nullable().default(null),
  attempts: z.partialRecord(z.enum(['preflight', 'stage', 'upgrade', 'roll_back', 'revert']), count),
  checked: z.boolean(),
  outSince: time.nullable(),
  backAt: time.nullable(),
  release,
  backupId: z.string(),
});
export type RolloutNodeValue = z.infer<typeof rolloutNodeRecord>;

export const planHeaderRecord = z.object({
  from: z.string(),
  to: z.string(),
  direction: z.enum(['forward', 'back']),
  rollbackOf: z.string().nullable(),
  stageOnly: z.boolean().default(false),
  policy: z.object({
    maxConcurrent: countFromOne,
    soakMs: milliseconds,
    failureBudget: count,
    rollbackOnFailure: z.boolean(),
    // What a plan of before these rules does not say is what it meant then.
    backupRule: z
      .object({
        directory: z.string(),
        encryption: z.boolean(),
        keep: count,
        retentionDays: count,
      })
      .default({ directory: 'backups', encryption: true, keep: 3, retentionDays: 30 }),
    maintenanceHooks: z.boolean(),
    tests: z.boolean().default(false),
    restartByHand: z.boolean().default(false),
    checkMigrations: z.boolean().default(false),
    allowUnhealthy: z.boolean().default(false),
    unknownMaxMs: milliseconds,
    timeouts: z.object({
      preflightMs: milliseconds,
      stageMs: milliseconds,
      maintenanceMs: milliseconds,
      stopMs: milliseconds,
      backupMs: milliseconds,
      migrateMs: milliseconds,
      applyMs: milliseconds,
      probeMs: milliseconds,
      testMs: milliseconds.default(600_000),
      rollbackMs: milliseconds,
    }),
    probe: z.object({
      goodInARow: count,
      spacingMs: milliseconds,
      intervalMaxMs: milliseconds,
      tryMs: milliseconds,
    }),
  }),
  nodeCount: count,
  partsDigest: z.string(),
  leftOut: z.array(z.string()).default([]),
  pointOfNoReturn: z.string(),
  estimateMs: milliseconds,
});

export const planPartRecord = z.object({
  node: z.string(),
  index: count,
  wave: count,
  orderReason: z.string(),
  strategy: z.enum(['install', 'upgrade', 'downgrade', 'restart', 'reinstall', 'none']),
  from: release,
  to: release,
  manifestSha256: z.string(),
  artifactSha256: z.string(),
  unpackedBytes: z.number().int().min(0),
  migrations: z.array(z.object({ id: z.string(), checksum: z.string(), direction: z.enum(['up', 'down']) })),
  backup: z.boolean().default(true),
  os: z.string().default(''),
  arch: z.string().default(''),
  wasInMaintenance: z.boolean(),
  estimateMs: milliseconds,
});

/** One record of the audit; what it tells of has fields of its own beside these (audit.ts). */
export const auditRecord = z.looseObject({
  sequence: z.number().int().min(1),
  at: z.string(),
  term: z.string(),
  what: z.string(),
  rollout: z.string(),
  previousHash: z.string(),
  hash: z.string(),
});
export type AuditRecordValue = z.infer<typeof auditRecord>;

/** Reads a value. @throws PlexiError STORE_INVALID naming the key */
export function decode<S extends z.ZodType>(schema: S, key: string, value: string): z.output<S> {
  let json: unknown;
  try {
    json = JSON.parse(value);
  } catch (cause) {
    throw new PlexiError('STORE_INVALID', `the value of ${key} is not JSON; put it right, or restore etcd`, {
      cause,
    });
  }
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  const first = parsed.error.issues[0];
  const where = first === undefined ? '' : ` (${first.path.join('.')}: ${first.message})`;
  throw new PlexiError(
    'STORE_INVALID',
    `the value of ${key} has an unknown shape${where}; put it right, or upgrade this controller`,
    { cause: parsed.error },
  );
}

/**
 * The text of a value: ours, over whatever fields stood there before. What is nested deeper than any program
 * writes it is no field of a newer controller, and is left out: it cannot be written again.
 */
export function encode(value: object, before: string | undefined): string {
  if (before === undefined) return JSON.stringify(value);
  try {
    return JSON.stringify({ ...unknownFields(before), ...value });
  } catch (thrown) {
    if (thrown instanceof RangeError) return JSON.stringify(value);
    throw thrown;
  }
}

function unknownFields(before: string): object {
  try {
    const json: unknown = JSON.parse(before);
    return typeof json === 'object' && json !== null && !Array.isArray(json) ? json : {};
  } catch {
    return {};
  }
}

/** RFC 3339 in UTC. */
export function timeText(ms: number): string {
  return new Date(ms).toISOString();
}
