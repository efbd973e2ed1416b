/**
 * The wishes of operators, which any replica stored and the leader takes: each is consumed once, in
 * the transaction that changes the state, and leaves an outcome for the caller who waits (protocol,
 * rule 23).
 */
import type { Logger } from 'pino';
import { asPlexiError, PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import type { EtcdEntry, EtcdOperation } from '../leadership/etcd.js';
import { bounded } from '../rollout/change.js';
import type { EngineEvent, Wish } from '../rollout/events.js';
import { wishRefusal } from '../rollout/wishes.js';
import type { World } from '../rollout/world.js';
import type { AuditEntry } from '../state/audit.js';
import type { ClusterKeys } from '../state/keys.js';
import { decode } from '../state/records.js';
import { type Intent, type IntentOutcome, intentRecord } from '../state/wish-records.js';
import type { WriteGroup } from '../state/world-writes.js';
import type { Batch, WaitingWish } from './run-loop.js';

/** What taking a wish comes to: events for the engine, and writes that belong with them. */
export interface TakenIntent {
  readonly events: readonly EngineEvent[];
  readonly writes: WriteGroup;
  readonly outcome: Omit<IntentOutcome, 'at'>;
}

export interface IntentsParts {
  readonly keys: ClusterKeys;
  readonly world: () => World;
  /** Takes a wish: stores what it comes to, and does it. @throws PlexiError LIMIT_EXCEEDED, with nothing taken */
  readonly take: (wish: WaitingWish) => Promise<void>;
  /** Wishes that need more than the engine: a start, a rollback, a removal. */
  readonly fulfil: (intent: Exclude<Intent, { kind: Wish['kind'] }>) => Promise<TakenIntent>;
  /** Keys of outcomes, oldest first. */
  readonly outcomes: () => readonly string[];
  readonly wall: () => Date;
  readonly log: Logger;
}

/** The plan that was made for a wish: its parts are stored by then, so it is made once. */
interface Planned {
  result?: TakenIntent;
}

const nothing: TakenIntent = {
  events: [],
  writes: { operations: [], guards: [] },
  outcome: { rollout: null, nothingToDo: false, error: null },
};

export class Intents {
  private readonly pending = new Map<string, EtcdEntry>();
  private readonly taken = new Set<string>();
  private taking = false;

  constructor(private readonly parts: IntentsParts) {}

  /** Takes note of wishes that stand in etcd. */
  notice(entries: readonly EtcdEntry[]): void {
    for (const entry of entries) if (!this.taken.has(entry.key)) this.pending.set(entry.key, entry);
  }

  /** Whether there are wishes that were not taken yet. */
  get wait(): boolean {
    return this.pending.size > 0;
  }

  /** Takes every wish that waits, oldest first. Called again in the middle of that, it does nothing. */
  async takeAll(): Promise<void> {
    if (this.taking) return;
    this.taking = true;
    try {
      for (let entry = this.oldest(); entry !== undefined; entry = this.oldest()) {
        this.pending.delete(entry.key);
        this.taken.add(entry.key);
        await this.takeOne(entry);
      }
    } finally {
      this.taking = false;
    }
  }

  private oldest(): EtcdEntry | undefined {
    let oldest: EtcdEntry | undefined;
    for (const entry of this.pending.values()) {
      if (oldest === undefined || entry.createRevision < oldest.createRevision) oldest = entry;
    }
    return oldest;
  }

  private async takeOne(entry: EtcdEntry): Promise<void> {
    const n = entry.key.slice(entry.key.lastIndexOf('/') + 1);
    const doneKey = this.parts.keys.outcome(n);
    const planned: Planned = {};
    const take = (result: () => Promise<TakenIntent>): Promise<void> =>
      this.parts.take({
        key: entry.key,
        doneKey,
        batch: async () => this.batchOf(entry, doneKey, await result()),
      });
    try {
      await take(() => this.resultOrRefusal(entry, planned));
    } catch (thrown) {
      if (!(thrown instanceof PlexiError) || thrown.code !== 'LIMIT_EXCEEDED') throw thrown;
      await take(async () => this.refused(entry, thrown));
    }
  }

  /** Events and writes of a wish, with those that consume it. */
  private batchOf(entry: EtcdEntry, doneKey: string, result: TakenIntent): Batch {
    const { operations, guards } = result.writes;
    return {
      events: result.events,
      writes: {
        operations: [...operations, ...this.consume(entry.key, doneKey, result.outcome)],
        guards: [...guards, { kind: 'modRevision', key: entry.key, equals: entry.modRevision }],
        audit: [wishEntry(entry, result.outcome)],
      },
    };
  }

  private async resultOrRefusal(entry: EtcdEntry, planned: Planned): Promise<TakenIntent> {
    try {
      return await this.resultOf(entry.key, decode(intentRecord, entry.key, entry.value), planned);
    } catch (thrown) {
      const error = asPlexiError(thrown, 'INTERNAL', 'the wish could not be fulfilled');
      if (error.code === 'NOT_LEADER' || error.code === 'STORE_UNAVAILABLE') throw error;
      return this.refused(entry, error);
    }
  }

  private refused(entry: EtcdEntry, error: PlexiError): TakenIntent {
    this.parts.log.info({ intent: entry.key, err: error }, 'wish refused');
    const told = { code: error.code, message: bounded(error.message) };
    return { ...nothing, outcome: { rollout: null, nothingToDo: false, error: told } };
  }

  private async resultOf(key: string, intent: Intent, planned: Planned): Promise<TakenIntent> {
    const { recovery } = this.parts.world();
    if (recovery?.kind === 'refused') throw new PlexiError('ETCD_RESTORED', recovery.reason);
    switch (intent.kind) {
      case 'pause':
      case 'resume':
      case 'abort':
      case 'retry':
      case 'skip':
        return this.wish(key, intent);
      case 'start':
      case 'rollback': {
        planned.result ??= await this.parts.fulfil(intent);
        return planned.result;
      }
      default:
        return this.parts.fulfil(intent);
    }
  }

  private wish(key: string, intent: Extract<Intent, { kind: Wish['kind'] }>): TakenIntent {
    const { rollout } = this.parts.world();
    if (rollout === undefined || !key.startsWith(this.parts.keys.rolloutIntents(rollout.id))) {
      throw new PlexiError(
        'NO_ROLLOUT_ACTIVE',
        'that rollout is not active any more; plexictl history shows how it ended',
      );
    }
    const wish = wishOf(intent);
    const refusal = wishRefusal(this.parts.world(), wish);
    if (refusal !== undefined) throw new PlexiError('CONFLICT', refusal);
    return {
      ...nothing,
      events: [{ kind: 'wish', wish }],
      outcome: { rollout: rollout.id, nothingToDo: false, error: null },
    };
  }

  private consume(key: string, doneKey: string, outcome: Omit<IntentOutcome, 'at'>): EtcdOperation[] {
    const { outcomes, wall } = this.parts;
    const old = outcomes().slice(0, -limits.intentOutcomes);
    return [
      { kind: 'delete', key },
      { kind: 'put', key: doneKey, value: JSON.stringify({ ...outcome, at: wall().toISOString() }) },
      ...old.map((oldKey) => ({ kind: 'delete', key: oldKey }) as const),
    ];
  }
}

/** What is recorded of a wish; of one that cannot be read, only that it stood there. */
function wishEntry({ key, value }: EtcdEntry, outcome: Omit<IntentOutcome, 'at'>): AuditEntry {
  const { error } = outcome;
  const rollout = outcome.rollout ?? '';
  const intent = readable(key, value);
  if (intent === undefined)
    return { what: 'wish', rollout, who: '', wish: 'unreadable', details: { key }, reason: '', error };
  const { kind: wish, by: who, reason, ...whole } = { reason: '', ...intent };
  const chars = JSON.stringify(whole).length;
  const details = chars > limits.auditDetailsChars ? { leftOutChars: chars } : whole;
  return { what: 'wish', rollout, who, wish, details, reason: bounded(reason), error };
}

function readable(key: string, value: string): Intent | undefined {
  try {
    return decode(intentRecord, key, value);
  } catch {
    return undefined;
  }
}

/** The wish without who said it and when. */
export function wishOf(intent: Extract<Intent, { kind: Wish['kind'] }>): Wish {
  const { reason } = intent;
  switch (intent.kind) {
    case 'pause':
      return { kind: 'pause', reason };
    case 'resume':
      return { kind: 'resume', reason, seen: intent.seen };
    case 'abort':
      return { kind: 'abort', rollback: intent.rollback, reason };
    case 'retry':
    case 'skip':
      return { kind: intent.kind, node: intent.node, reason };
  }
}
