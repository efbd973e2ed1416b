/**
 * Maintenance of this node: a record on the disk that outlives the agent, and the operator's hooks
 * that tell the world (a load balancer, a marker). The record is written before the hook that takes
 * the node out, and removed after the hook that puts it back, so a crash in between can only leave
 * a node that is known to be out (guarantee 4).
 */
import { PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import { readBounded, removeDurably, writeDurably } from '../disk/durable-file.js';
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
    private record: MaintenanceRecord | undefined,
  ) {}

  /** Reads the record. An unreadable one counts as in maintenance: the node must not serve by accident. */
  static async open(file: string, hooks: MaintenanceHooks): Promise<Maintenance> {
    const bytes = await readBounded(file, limits.journalRecordBytes);
    return new Maintenance(file, hooks, bytes === undefined ? undefined : parseMaintenance(bytes));
  }

  get current(): MaintenanceRecord | undefined {
    return this.record;
  }

  /**
   * Takes the node out: record, then hook. May be called again.
   * @throws PlexiError HOOK_FAILED, and whatever running the hook throws
   */
  async enter(options: { reason: string; since: string; withHooks: boolean } & HookRun): Promise<void> {
    const record = { reason: options.reason, since: options.since };
    await writeDurably(this.file, Buffer.from(`${JSON.stringify(record)}\n`));
    this.record = record;
    if (options.withHooks) await runHook('enter', this.hooks.enter, options);
  }

  /** Puts the node back: hook, then record. May be called again. @throws PlexiError HOOK_FAILED */
  async leave(options: { withHooks: boolean } & HookRun): Promise<void> {
    if (options.withHooks) await runHook('leave', this.hooks.leave, options);
    await removeDurably(this.file);
    this.record = undefined;
  }
}

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

function parseMaintenance(bytes: Uint8Array): MaintenanceRecord {
  try {
    const json: unknown = JSON.parse(Buffer.from(bytes).toString('utf8'));
    if (typeof json === 'object' && json !== null && 'reason' in json && 'since' in json) {
      return { reason: String(json.reason), since: String(json.since) };
    }
  } catch (error) {
    return { reason: `agent/maintenance.json cannot be read (${String(error)})`, since: '' };
  }
  return { reason: 'agent/maintenance.json has an unknown shape', since: '' };
}
