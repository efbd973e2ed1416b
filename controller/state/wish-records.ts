/** The wishes of operators as they stand in etcd until the leader takes them, and what came of each. */
import { z } from 'zod';
import { count, fault } from './records.js';

const rolloutPolicyOverrides = z.object({
  to: z.string(),
  maxConcurrent: count,
  canary: count,
  canarySelector: z.string(),
  nodes: z.array(z.string()),
  selectors: z.array(z.string()),
  exclude: z.array(z.string()),
  force: z.boolean(),
  downgrade: z.boolean(),
  restart: z.boolean().default(false),
  stageOnly: z.boolean().default(false),
  skipTests: z.boolean().default(false),
  reinstall: z.boolean().default(false),
  reason: z.string(),
});
export type RolloutWish = z.infer<typeof rolloutPolicyOverrides>;

/** An operator's wish under intents/. */
export const intentRecord = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('start'),
    by: z.string(),
    at: z.string(),
    requestId: z.string(),
    planDigest: z.string(),
    request: rolloutPolicyOverrides,
  }),
  z.object({
    kind: z.literal('rollback'),
    by: z.string(),
    at: z.string(),
    requestId: z.string(),
    rollout: z.string(),
    reason: z.string(),
  }),
  z.object({
    kind: z.literal('maintenance'),
    by: z.string(),
    at: z.string(),
    node: z.string(),
    on: z.boolean(),
    reason: z.string(),
  }),
  z.object({
    kind: z.literal('remove'),
    by: z.string(),
    at: z.string(),
    node: z.string(),
    reason: z.string(),
  }),
  z.object({
    kind: z.literal('hold'),
    by: z.string(),
    at: z.string(),
    node: z.string(),
    on: z.boolean(),
    reason: z.string(),
  }),
  z.object({
    kind: z.literal('order'),
    by: z.string(),
    at: z.string(),
    node: z.string(),
    order: z.enum(['adopt', 'confirm']),
    version: z.string(),
    directory: z.string(),
    reason: z.string(),
  }),
  z.object({
    kind: z.literal('freeze'),
    by: z.string(),
    at: z.string(),
    on: z.boolean(),
    reason: z.string(),
  }),
  z.object({
    kind: z.enum(['retry', 'skip']),
    by: z.string(),
    at: z.string(),
    node: z.string(),
    reason: z.string(),
  }),
  z.object({ kind: z.literal('pause'), by: z.string(), at: z.string(), reason: z.string() }),
  z.object({
    kind: z.literal('resume'),
    by: z.string(),
    at: z.string(),
    reason: z.string(),
    /** Nodes whose failure stood in etcd when it was said; absent in a wish of an earlier version. */
    seen: z.array(z.string()).optional(),
  }),
  z.object({
    kind: z.literal('abort'),
    by: z.string(),
    at: z.string(),
    rollback: z.boolean(),
    reason: z.string(),
  }),
]);
export type Intent = z.infer<typeof intentRecord>;

/** What came of an intent. */
export const outcomeRecord = z.object({
  at: z.string(),
  rollout: z.string().nullable(),
  nothingToDo: z.boolean(),
  error: fault.nullable(),
});
export type IntentOutcome = z.infer<typeof outcomeRecord>;
