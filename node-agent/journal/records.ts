/**
 * The records of a node's journal: what is written, and how it is read back. One small file a
 * record; a record carries the result of one step and the intent of the next (protocol, rule 8).
 * A record that does not fit this shape is never guessed at: the node holds and asks (rule 9).
 */
import { z } from 'zod';
import { Command } from '../../gen/plexi/v1/node_agent.js';

const failure = z.object({ code: z.string(), message: z.string() });

const release = z.object({ version: z.string(), digest: z.string() });

/**
 * How the node was before a job touched it. Stored with the intent, before anything is set, so that
 * a crash cannot make the job mistake its own doing for the prior state.
 */
export const jobFacts = z.object({
  /** The node was in maintenance before this job. */
  wasInMaintenance: z.boolean(),
  /** The folder under releases/ that `current` pointed at; null: nothing was installed. */
  folderBefore: z.string().nullable(),
  /** The folder under releases/ that `previous` pointed at; null: there was no such link. */
  previousBefore: z.string().nullable(),
  /** The folder under releases/ that this job goes to; null for a job without a release. */
  folderAfter: z.string().nullable(),
  /** The id that this job's backup will have; empty when it makes none. */
  backupId: z.string(),
});
export type JobFacts = z.infer<typeof jobFacts>;

export const jobResult = z.object({
  outcome: z.enum(['done', 'failed', 'rolled_back', 'rollback_failed']),
  failure: failure.nullable(),
  failedStep: z.string(),
  release,
  timings: z.array(z.object({ step: z.string(), durationMs: z.number().int().min(0) })),
  backupId: z.string(),
});
export type JobResult = z.infer<typeof jobResult>;
export type JobFailure = z.infer<typeof failure>;

/** A number of 64 bits in digits: a double cannot count so far. */
export const digits = z
  .string()
  // One check: a second one would be asked of what the first has refused.
  .refine(
    (text) => /^\d{1,20}$/.test(text) && BigInt(text) <= 0xffff_ffff_ffff_ffffn,
    'is no number of 64 bits',
  );
const token = z.object({ epoch: digits, term: digits, seq: digits });
export type RecordedToken = z.infer<typeof token>;

/**
 * What an operator did on the node itself, without a controller (`plexi-node-agent rollback`, `restore`,
 * `maintenance off`). Such a record begins a job of its own; `take_back` stands in the job that it ends.
 */
export const byHand = z.object({
  act: z.discriminatedUnion('word', [
    /** The open job goes back. */
    z.object({ word: z.literal('take_back') }),
    /** `current` goes back to `previous`; nothing is done to the data. */
    z.object({ word: z.literal('rollback') }),
    /** Data and configuration from a backup, and the version that belongs to them. */
    z.object({ word: z.literal('restore'), directory: z.string() }),
    /** What lies on the disk is taken as it is. */
    z.object({ word: z.literal('as_it_is') }),
    z.object({ word: z.literal('maintenance_off') }),
  ]),
  /** The user of the system who said so. */
  by: z.string(),
  reason: z.string(),
  /** Names in agent/quarantine/ of what could not be read and was moved there. */
  setAside: z.array(z.string()),
});
export type ByHand = z.infer<typeof byHand>;

const base = {
  schema: z.literal(1),
  sequence: z.number().int().min(1),
  commandId: z.string().min(1),
  at: z.string(),
};

export const journalRecord = z.discriminatedUnion('kind', [
  z.object({
    ...base,
    kind: z.literal('accepted'),
    command: z.record(z.string(), z.unknown()).refine(isCommand, 'cannot be read as a command'),
    payloadHash: z.string(),
    token,
    step: z.string(),
    facts: jobFacts,
  }),
  z.object({
    ...base,
    kind: z.literal('step'),
    done: z.string(),
    step: z.string(),
    committed: z.boolean(),
  }),
  z.object({
    ...base,
    kind: z.literal('going_back'),
    failure,
    failedStep: z.string(),
    step: z.string(),
  }),
  z.object({ ...base, kind: z.literal('resumed'), step: z.string() }),
  z.object({ ...base, kind: z.literal('by_hand'), ...byHand.shape, step: z.string(), facts: jobFacts }),
  z.object({ ...base, kind: z.literal('finished'), result: jobResult }),
]);
export type JournalRecord = z.infer<typeof journalRecord>;

/** Whether a command can be taken up again, and told: else nothing can be done about its job. */
function isCommand(json: Record<string, unknown>): boolean {
  try {
    Command.encode(Command.fromJSON(json)).finish();
    return true;
  } catch {
    return false;
  }
}

/** A record without what the journal itself adds. */
export type NewRecord = JournalRecord extends infer R
  ? R extends JournalRecord
    ? Omit<R, 'schema' | 'sequence' | 'at'>
    : never
  : never;
