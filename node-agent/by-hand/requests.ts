/** What can be said at a node's local door, and what is answered; JSON both ways. */
import { z } from 'zod';
import { isErrorCode, PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';

const said = { by: z.string().max(limits.nameChars), reason: z.string().min(1).max(limits.reasonChars) };

export const byHandRequest = z.discriminatedUnion('word', [
  z.strictObject({ word: z.literal('status') }),
  z.strictObject({ word: z.literal('rollback'), forceAfterCommit: z.boolean(), ...said }),
  z.strictObject({ word: z.literal('maintenance_off'), ...said }),
]);
export type ByHandRequest = z.infer<typeof byHandRequest>;

/** `plexi-node-agent start`, said to a running agent; it is no word that is journaled. */
export const startRequest = z.strictObject({ word: z.literal('start') });
/** What was started. */
export const started = z.object({ version: z.string() });

const release = z.object({ version: z.string(), digest: z.string() });
const problem = z.object({ code: z.string(), message: z.string() });

/** What a node says of itself, when it is asked on the node. */
export const nodeDocument = z.object({
  node: z.string(),
  agentVersion: z.string(),
  /** Whether the agent answered, or the files were read without it. */
  agentRuns: z.boolean(),
  release,
  /** Folders under releases/; null: no such link. */
  current: z.string().nullable(),
  previous: z.string().nullable(),
  /** True or false; null when it could not be told. */
  serviceRuns: z.boolean().nullable(),
  maintenance: z.object({ reason: z.string(), since: z.string() }).nullable(),
  /** The last job of the journal; null: none. */
  job: z
    .object({
      commandId: z.string(),
      rollout: z.string(),
      step: z.string(),
      /** `open`, or how it ended. */
      state: z.string(),
      committed: z.boolean(),
      goingBack: z.boolean(),
      backupId: z.string(),
      byHand: z.object({ by: z.string(), reason: z.string() }).nullable(),
    })
    .nullable(),
  /** The highest token seen, as (epoch, term, seq); null: the fence cannot be read. */
  fence: z.string().nullable(),
  needsOperator: problem.nullable(),
  /** What to type next; null: nothing. */
  next: z.string().nullable(),
});
export type NodeDocument = z.infer<typeof nodeDocument>;

/** How a word that changes something ended. */
export const byHandOutcome = z.object({
  outcome: z.enum(['done', 'failed', 'rolled_back', 'rollback_failed']),
  release,
  failure: problem.nullable(),
  inMaintenance: z.boolean(),
});
export type ByHandOutcome = z.infer<typeof byHandOutcome>;

const answer = z.union([z.object({ value: z.unknown() }), z.object({ error: problem })]);

/** The request that somebody made. @throws PlexiError USAGE */
export function parseRequest(json: unknown): ByHandRequest {
  const parsed = byHandRequest.safeParse(json);
  if (parsed.success) return parsed.data;
  throw new PlexiError(
    'USAGE',
    `this is no word that can be said at a node: ${z.prettifyError(parsed.error)}`,
  );
}

/** Refuses a name or a reason that no record can hold. @throws PlexiError USAGE */
export function checkSaid(who: { by: string; reason: string }): void {
  const parsed = z.object(said).safeParse(who);
  if (parsed.success) return;
  throw new PlexiError('USAGE', `this cannot be recorded: ${z.prettifyError(parsed.error)}`);
}

/** What the other side answered. @throws PlexiError as it threw there */
export function parseAnswer<T>(json: unknown, schema: z.ZodType<T>): T {
  const parsed = answer.parse(json);
  if ('error' in parsed) {
    const { code, message } = parsed.error;
    throw new PlexiError(isErrorCode(code) ? code : 'INTERNAL', message);
  }
  return schema.parse(parsed.value);
}
