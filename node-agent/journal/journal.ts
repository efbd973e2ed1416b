/**
 * The journal of a node: what it was told to do, how far it came, how it ended. Every record is on
 * the disk before the act that it announces, and every result before it is told to anybody.
 *
 * Opening folds the records into jobs. A missing, torn or unknown record makes the journal
 * unreadable, and then the node obeys nobody but an operator (protocol, rules 8 and 9).
 */
import { PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import {
  type ByHand,
  type JobFacts,
  type JobFailure,
  type JobResult,
  type JournalRecord,
  journalRecord,
  type NewRecord,
  type RecordedToken,
} from './records.js';

/** Where records live. Names sort as they were written; `create` is durable when it resolves. */
export interface JournalDisk {
  list(): Promise<string[]>;
  read(name: string): Promise<Uint8Array | undefined>;
  create(name: string, bytes: Uint8Array): Promise<void>;
  remove(name: string): Promise<void>;
}

/** Steps in the order in which they were begun; every job has begun one. */
export type BegunSteps = readonly [string, ...string[]];

/** One command that touches the node, as the journal knows it. */
export interface Job {
  readonly commandId: string;
  /** The command as JSON (the proto's own mapping). */
  readonly command: Record<string, unknown>;
  readonly payloadHash: string;
  /** The token with which it was let in: after a restart the fence is not below it. */
  readonly token: RecordedToken;
  /** Steps that were begun, in order; the last one may be unfinished. */
  readonly begun: BegunSteps;
  readonly facts: JobFacts;
  /** The commit record is on the disk: from here on the node never goes back by itself. */
  readonly committed: boolean;
  /** Set once the job goes back. */
  readonly goingBack:
    | { readonly failure: JobFailure; readonly failedStep: string; readonly begun: BegunSteps }
    | undefined;
  /** How often the agent was restarted in the middle of this job's current step. */
  readonly resumed: number;
  readonly result: JobResult | undefined;
  /** What an operator did on the node itself: the whole job, or with `take_back` what ended it. */
  readonly byHand?: ByHand | undefined;
  /** Names of the records, for pruning. */
  readonly records: readonly string[];
}

export class Journal {
  private readonly jobs = new Map<string, Job>();
  private nextSequence = 1;
  /** Records whose job a pruning had half removed when the agent died. */
  private remnants: string[] = [];
  /** A job and an operator's word may both write: each record gets a number of its own. */
  private lastAppend: Promise<unknown> = Promise.resolve();

  private constructor(
    private readonly disk: JournalDisk,
    private readonly wallClock: () => Date,
  ) {}

  /**
   * Reads the journal. @throws PlexiError JOURNAL_UNREADABLE, naming the record; nothing is removed.
   */
  static async open(disk: JournalDisk, wallClock: () => Date): Promise<Journal> {
    const journal = new Journal(disk, wallClock);
    let first: number | undefined;
    let remnant: JournalRecord | undefined;
    for (const name of (await disk.list()).filter((entry) => entry.endsWith('.json')).sort()) {
      const record = parseRecord(name, await readRecord(disk, name));
      first ??= record.sequence;
      if (recordName(record.sequence) !== name) throw unreadable(name, 'its number and its name differ');
      if (first !== record.sequence && record.sequence !== journal.nextSequence) {
        throw unreadable(name, `record ${journal.nextSequence} before it is missing`);
      }
      journal.nextSequence = record.sequence + 1;
      if (journal.jobs.size === 0 && !mayBegin(record)) {
        journal.remnants.push(name);
        remnant = record;
      } else
        journal.jobs.set(
          record.commandId,
          journal.fold(record, (why) => unreadable(name, why)),
        );
    }
    // Only finished jobs are pruned; without its end this is an open job that lost its beginning.
    if (remnant !== undefined && remnant.kind !== 'finished')
      throw unreadable(
        recordName(remnant.sequence),
        `the job ${remnant.commandId} has neither a beginning nor an end`,
      );
    return journal;
  }

  /** The job of a command, open or finished. */
  find(commandId: string): Job | undefined {
    return this.jobs.get(commandId);
  }

  /** All jobs that are kept, oldest first. */
  list(): Job[] {
    return [...this.jobs.values()];
  }

  /** The one job without a result, if there is one. */
  open(): Job | undefined {
    return this.list().find((job) => job.result === undefined);
  }

  /**
   * Appends one record, durably, and returns the job as it is now. One after another, in order of arrival.
   * @param allow is asked in the record's own turn, with its job as it is then: what it throws is the refusal
   * @throws PlexiError BUSY beside an open job, CONFLICT for what cannot follow; nothing is written then
   */
  append(record: NewRecord, allow: (job: Job | undefined) => void = () => undefined): Promise<Job> {
    const written = this.lastAppend.then(() => {
      allow(this.find(record.commandId));
      return this.write(record);
    });
    this.lastAppend = written.catch(() => undefined);
    return written;
  }

  private async write(record: NewRecord): Promise<Job> {
    const whole = {
      schema: 1,
      sequence: this.nextSequence,
      at: this.wallClock().toISOString(),
      ...record,
    } as JournalRecord;
    const open = this.open();
    if (open !== undefined && mayBegin(whole))
      throw new PlexiError('BUSY', `the node works on ${open.commandId}`);
    // Before it is on the disk: there, what cannot follow would make the whole journal unreadable.
    const after = this.fold(whole, refuseRecord);
    const bytes = Buffer.from(`${JSON.stringify(whole)}\n`);
    if (bytes.length > limits.journalRecordBytes) {
      throw new PlexiError(
        'LIMIT_EXCEEDED',
        `a journal record of ${bytes.length} bytes is over ${limits.journalRecordBytes}`,
      );
    }
    await this.disk.create(recordName(whole.sequence), bytes);
    this.nextSequence = whole.sequence + 1;
    this.jobs.set(whole.commandId, after);
    return after;
  }

  /**
   * Removes the oldest finished jobs beyond what is kept, oldest record first: a crash in between leaves remnants, never a job that looks open.
   * @param needed how many of the last jobs something still rests on; they are kept
   */
  async prune(needed = 0): Promise<void> {
    const finished = this.list().filter((job) => job.result !== undefined);
    const excess = finished.slice(0, Math.max(0, finished.length - Math.max(needed, limits.journalJobsKept)));
    for (const name of [...this.remnants, ...excess.flatMap((job) => job.records)])
      await this.disk.remove(name);
    this.remnants = [];
    for (const job of excess) this.jobs.delete(job.commandId);
  }

  private fold(record: JournalRecord, refuse: Refuse): Job {
    return foldRecord(this.jobs.get(record.commandId), record, refuse);
  }
}

/** Makes the error for a record that cannot follow on those before it. */
type Refuse = (why: string) => PlexiError;

/** Pure: one job and one more record give the job as it is then. @throws what `refuse` makes */
function foldRecord(before: Job | undefined, record: JournalRecord, refuse: Refuse): Job {
  const name = recordName(record.sequence);
  if (record.kind === 'accepted') {
    if (before !== undefined) throw refuse(`the job ${record.commandId} begins twice`);
    return {
      commandId: record.commandId,
      command: record.command,
      payloadHash: record.payloadHash,
      token: record.token,
      begun: [record.step],
      facts: record.facts,
      committed: false,
      goingBack: undefined,
      resumed: 0,
      result: undefined,
      records: [name],
    };
  }
  if (record.kind === 'by_hand' && before === undefined && mayBegin(record)) return begunByHand(record, name);
  if (before === undefined) throw refuse(`the job ${record.commandId} has no beginning`);
  if (before.result !== undefined) throw refuse(`the job ${record.commandId} goes on after its end`);
  const records = [...before.records, name];
  switch (record.kind) {
    case 'step':
      return {
        ...takeStep(before, record.step),
        committed: before.committed || record.committed,
        resumed: 0,
        records,
      };
    case 'going_back':
      return {
        ...before,
        goingBack: { failure: record.failure, failedStep: record.failedStep, begun: [record.step] },
        resumed: 0,
        records,
      };
    case 'resumed':
      return { ...before, resumed: before.resumed + 1, records };
    case 'by_hand':
      if (mayBegin(record)) throw refuse(`the job ${record.commandId} begins twice`);
      return { ...before, byHand: byHandOf(record), records };
    case 'finished':
      return { ...before, result: record.result, records };
  }
}

/** Whether a job may begin with this record. */
function mayBegin(record: JournalRecord): boolean {
  return record.kind === 'accepted' || (record.kind === 'by_hand' && record.act.word !== 'take_back');
}

type ByHandRecord = Extract<JournalRecord, { kind: 'by_hand' }>;

/** No controller gave it, so it has neither a command nor a token: the fence is not raised by it. */
function begunByHand(record: ByHandRecord, name: string): Job {
  return {
    commandId: record.commandId,
    command: {},
    payloadHash: '',
    token: { epoch: '0', term: '0', seq: '0' },
    begun: [record.step],
    facts: record.facts,
    committed: false,
    goingBack: undefined,
    resumed: 0,
    result: undefined,
    byHand: byHandOf(record),
    records: [name],
  };
}

function byHandOf({ act, by, reason, setAside }: ByHandRecord): ByHand {
  return { act, by, reason, setAside };
}

function takeStep(job: Job, step: string): Job {
  if (job.goingBack === undefined) return { ...job, begun: [...job.begun, step] };
  return { ...job, goingBack: { ...job.goingBack, begun: [...job.goingBack.begun, step] } };
}

function recordName(sequence: number): string {
  return `${String(sequence).padStart(10, '0')}.json`;
}

async function readRecord(disk: JournalDisk, name: string): Promise<Uint8Array | undefined> {
  try {
    return await disk.read(name);
  } catch (error) {
    throw unreadable(name, 'it cannot be read', error);
  }
}

function parseRecord(name: string, bytes: Uint8Array | undefined): JournalRecord {
  if (bytes === undefined) throw unreadable(name, 'it disappeared while it was read');
  let json: unknown;
  try {
    json = JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch (error) {
    throw unreadable(name, 'it is torn or not JSON', error);
  }
  const parsed = journalRecord.safeParse(json);
  if (!parsed.success) throw unreadable(name, 'it is of an unknown kind or shape', parsed.error);
  return parsed.data;
}

function refuseRecord(why: string): PlexiError {
  return new PlexiError('CONFLICT', `${why}, so nothing was written to the journal`);
}

function unreadable(name: string, why: string, cause?: unknown): PlexiError {
  return new PlexiError(
    'JOURNAL_UNREADABLE',
    `journal record ${name} cannot be trusted: ${why}; the node holds until an operator says plexi-node-agent restore on it`,
    { cause },
  );
}
