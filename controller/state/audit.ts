/**
 * The audit record: what was wished, commanded and answered, and who led, each once, under
 * `audit/<sequence>`. Every record carries the hash of the one before it, so that one that is changed or
 * taken out shows. Records are written in the transaction that changes the state they tell of
 * (protocol, rule 24), by the leader alone, but for the word that raises the epoch (api/re-epoch.ts).
 */
import { createHash } from 'node:crypto';
import { PlexiError } from '../../config/errors.js';
import type { EtcdCompare, EtcdEntry, EtcdOperation } from '../leadership/etcd.js';
import type { Fault, ReleaseRef } from '../rollout/rollout.js';
import type { ClusterKeys } from './keys.js';
import { type AuditRecordValue, auditRecord, decode } from './records.js';

/** Something that belongs into the record. */
export type AuditFact =
  | { readonly what: 'leader'; readonly who: string; readonly address: string; readonly epoch: string }
  | {
      readonly what: 'wish';
      readonly who: string;
      /** What was wished: `start`, `pause`, `maintenance`, … */
      readonly wish: string;
      /** The wish's own words: which node, which version, on or off. */
      readonly details: Readonly<Record<string, unknown>>;
      readonly reason: string;
      /** Null: it was fulfilled. */
      readonly error: Fault | null;
    }
  | { readonly what: 'command'; readonly node: string; readonly commandId: string; readonly step: string }
  | {
      readonly what: 'outcome';
      readonly node: string;
      readonly commandId: string;
      readonly outcome: string;
      readonly error: Fault | null;
      readonly release: ReleaseRef | null;
    }
  | {
      /** A person on the node itself: a job of its own, or the taking back of one. */
      readonly what: 'by_hand';
      readonly who: string;
      readonly node: string;
      readonly commandId: string;
      readonly reason: string;
      readonly outcome: string;
      readonly error: Fault | null;
      readonly release: ReleaseRef | null;
    }
  | {
      readonly what: 'end';
      readonly phase: string;
      readonly reason: string;
      readonly exitCode: number | null;
    };

/** A fact with the rollout that it belongs to; empty: to none. */
export type AuditEntry = AuditFact & { readonly rollout: string };

/** Where the chain ends now. */
export interface AuditHead {
  readonly sequence: number;
  readonly hash: string;
}

/** Before the first record. */
export const emptyHead: AuditHead = { sequence: 0, hash: '' };

/** The writes that append entries to the chain, and where it ends then. */
export interface AuditAppend {
  readonly operations: readonly EtcdOperation[];
  readonly guards: readonly EtcdCompare[];
  readonly head: AuditHead;
}

/** Who appends, and when: the same for all records of one transaction. */
export interface AuditStamp {
  readonly at: Date;
  readonly term: string;
}

/** Appends entries, in their order. Pure. */
export function appendAudit(
  keys: ClusterKeys,
  head: AuditHead,
  entries: readonly AuditEntry[],
  stamp: AuditStamp,
): AuditAppend {
  const operations: EtcdOperation[] = [];
  let end = head;
  for (const entry of entries) {
    const sequence = end.sequence + 1;
    const body = { sequence, at: stamp.at.toISOString(), term: stamp.term, ...entry, previousHash: end.hash };
    const hash = hashOf(body);
    operations.push({
      kind: 'put',
      key: keys.auditRecord(sequence),
      value: JSON.stringify({ ...body, hash }),
    });
    end = { sequence, hash };
  }
  const first = operations[0];
  // A record is only ever created: two that were to have one number would be one chain too many.
  const guards = first === undefined ? [] : [{ kind: 'createRevision', key: first.key, equals: 0n } as const];
  return { operations, guards, head: end };
}

/** Where the chain ends, from its last entry; undefined: there is none yet. @throws PlexiError STORE_INVALID */
export function headOf(last: EtcdEntry | undefined): AuditHead {
  if (last === undefined) return emptyHead;
  const { sequence, hash } = decode(auditRecord, last.key, last.value);
  return { sequence, hash };
}

/** A stored record, read. @throws PlexiError STORE_INVALID */
export function readAudit(entry: EtcdEntry): AuditRecordValue {
  return decode(auditRecord, entry.key, entry.value);
}

/** Checks records one after another, oldest first, and says the first thing that is wrong. */
export class AuditChain {
  private before: AuditHead | undefined;

  /**
   * Takes the next record. The first one of all may follow on one that was pruned.
   * @throws PlexiError STORE_INVALID, naming the record
   */
  take(entry: EtcdEntry): AuditRecordValue {
    const record = readAudit(entry);
    const { hash, ...body } = JSON.parse(entry.value) as Record<string, unknown>;
    if (hashOf(body) !== hash) throw broken(entry, 'it was changed after it was written');
    if (this.before !== undefined) {
      if (record.sequence !== this.before.sequence + 1)
        throw broken(entry, `the record after ${this.before.sequence} is missing`);
      if (record.previousHash !== this.before.hash)
        throw broken(entry, 'it does not follow on the one before it');
    }
    this.before = { sequence: record.sequence, hash: record.hash };
    return record;
  }

  /** The last record that was taken. */
  get head(): AuditHead | undefined {
    return this.before;
  }
}

function broken(entry: EtcdEntry, why: string): PlexiError {
  return new PlexiError(
    'STORE_INVALID',
    `the audit record ${entry.key} cannot be trusted: ${why}; compare it with a copy, and look at who may write to etcd`,
  );
}

/** SHA-256 (hex) of the record's own text without its hash: key order is part of it, as it stands in etcd. */
function hashOf(body: object): string {
  return createHash('sha256').update(JSON.stringify(body)).digest('hex');
}
