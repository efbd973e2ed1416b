/**
 * Maintenance of this node: a record on the disk that outlives the agent, and the operator's hooks
 * that tell the world (a load balancer, a marker). The record is written before the hook that takes
 * the node out, and removed after the hook that puts it back, so a crash in between can only leave
 * a node that is known to be out (guarantee 4).
 */
import { PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import { readBounded, removeDurably, writeDurably } from '../disk/durable-file.js';
import { triedAgain } from '../disk/refusal.js';
import { type CommandResult, whyItFailed } from './command-run.js';

export interface MaintenanceRecord {
  readonly reason: string;
  readonly since: string;
}

export interface MaintenanceHooks {
  readonly enter?: readonly string[] | undefined;
  readonly leave?: readonly string[] | undefined;
}

export class Maintenance {
  private constructor(
    private readonly file: string,
    private readonly hooks: MaintenanceHooks,
    /** Keeps a file that cannot be read, before it is replaced or removed. */
    private readonly keep: (file: string) => Promise<unknown>,
    private record: MaintenanceRecord | undefined,
    /** What is wrong with the record's file; undefined: it can be read, or there is none. */
    private damage: string | undefined,
    /** Begun, and not come to its end. */
    private underWay: HookName | undefined = undefined,
  ) {}

  /**
   * Reads the record. An unreadable one counts as in maintenance: the node must not serve by accident.
   * @param keep keeps a file that could not be read, before an operator's word replaces it
   */
  static async open(
    file: string,
    hooks: MaintenanceHooks,
    keep: (file: string) => Promise<unknown> = nothingToKeep,
  ): Promise<Maintenance> {
    const { record, damage } = await readRecord(file);
    if (record === undefined && damage === undefined)
      return new Maintenance(file, hooks, keep, undefined, undefined);
    return new Maintenance(file, hooks, keep, record ?? { reason: damage ?? '', since: '' }, damage);
  }

  /** Why the record cannot be read; the node then counts as out of service. */
  get unreadable(): string | undefined {
    return this.damage;
  }

  get current(): MaintenanceRecord | undefined {
    return this.record;
  }

  /**
   * Takes the node out: record, then hook. May be called again.
   * @throws PlexiError HOOK_FAILED, and whatever running the hook throws
   */
  async enter(options: { reason: string; since: string; withHooks: boolean } & HookRun): Promise<void> {
    this.underWay = 'enter';
    await this.keepDamaged();
    const record = { reason: options.reason, since: options.since };
    try {
      await this.write(record);
    } catch (thrown) {
      // It may stand there all the same, only not for good: what the next agent would read is so now.
      this.record = (await readRecord(this.file)).record ?? this.record;
      throw thrown;
    }
    this.record = record;
    if (options.withHooks) await runHook('enter', this.hooks.enter, options);
    this.underWay = undefined;
  }

  /** Puts the node back: hook, then record. May be called again. @throws PlexiError HOOK_FAILED */
  async leave(options: { withHooks: boolean } & HookRun): Promise<void> {
    this.underWay = 'leave';
    if (options.withHooks) await runHook('leave', this.hooks.leave, options);
    await this.keepDamaged();
    await removeDurably(this.file);
    this.record = undefined;
    this.underWay = undefined;
  }

  /** It began to put the node back and did not come to an end: hook and disk may say that it is in service. */
  get isLeaving(): boolean {
    return this.underWay === 'leave';
  }

  /** It began to take the node out and did not come to an end: the hook may never have been told. */
  get isEntering(): boolean {
    return this.underWay === 'enter';
  }

  /**
   * Keeps the node out, or takes it out again, whatever the disk and the hook say to that: from here on the
   * agent says so. A record that is known stays as it is.
   * @param options.refused is told what did not work
   */
  async hold(
    options: {
      reason: string;
      since: string;
      withHooks: boolean;
      refused: (thrown: unknown) => void;
    } & HookRun,
  ): Promise<void> {
    const { reason, since, refused } = options;
    const record = this.record ?? { reason, since };
    this.record = record;
    this.underWay = undefined;
    if (this.damage === undefined) await triedAgain(() => this.write(record)).catch(refused);
    if (options.withHooks) await runHook('enter', this.hooks.enter, options).catch(refused);
  }

  private write({ reason, since }: MaintenanceRecord): Promise<void> {
    return writeDurably(this.file, Buffer.from(`${JSON.stringify({ reason, since })}\n`));
  }

  private async keepDamaged(): Promise<void> {
    if (this.damage === undefined) return;
    await this.keep(this.file);
    this.damage = undefined;
  }
}

async function nothingToKeep(): Promise<void> {}

type HookName = 'enter' | 'leave';

interface HookRun {
  /** Runs a hook to its end, within the bounds of whoever asks. */
  readonly runHook: (name: HookName, argv: readonly string[]) => Promise<CommandResult>;
}

async function runHook(name: HookName, argv: readonly string[] | undefined, run: HookRun): Promise<void> {
  if (argv === undefined || argv.length === 0) return;
  const result = await run.runHook(name, argv);
  if (result.exitCode === 0) return;
  throw new PlexiError('HOOK_FAILED', `the maintenance ${name} hook failed: ${whyItFailed(result)}`);
}

/** The record, or what is wrong with its file; neither of the two when there is none. */
async function readRecord(file: string): Promise<{ record?: MaintenanceRecord; damage?: string }> {
  try {
    const bytes = await readBounded(file, limits.journalRecordBytes);
    if (bytes === undefined) return {};
    const json: unknown = JSON.parse(bytes.toString('utf8'));
    if (typeof json === 'object' && json !== null && 'reason' in json && 'since' in json) {
      return { record: { reason: String(json.reason), since: String(json.since) } };
    }
  } catch (error) {
    return { damage: `agent/maintenance.json cannot be read (${String(error)})` };
  }
  return { damage: 'agent/maintenance.json has an unknown shape' };
}
