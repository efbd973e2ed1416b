/**
 * What one transaction may take: etcd bounds the number of its operations, and the bytes of the whole. What
 * may be stored in pieces is cut by both.
 */
import { limits } from '../../config/limits.js';
import type { EtcdOperation } from '../leadership/etcd.js';
import type { AuditEntry } from './audit.js';

/** Bytes that the protocol puts around one operation, at the most. */
const aroundOperation = 64;
/** Bytes of an audit record beside what it tells: its key, its hashes, its time. */
const aroundRecord = 1_024;

/** Bytes that an operation adds to a transaction. */
export function bytesOfOperation(operation: EtcdOperation): number {
  const value = operation.kind === 'put' ? Buffer.byteLength(operation.value) : 0;
  return aroundOperation + Buffer.byteLength(operation.key) + value;
}

/** Bytes that the record of an entry adds to a transaction. */
export function bytesOfRecord(entry: AuditEntry): number {
  return aroundRecord + Buffer.byteLength(JSON.stringify(entry));
}

/**
 * Cuts what belongs to no one transaction, in its order; what one item writes stays together.
 * @param itemsMax items in one piece, at the most
 */
export function piecesOf<T>(
  items: readonly T[],
  operationsOf: (item: T) => readonly EtcdOperation[],
  itemsMax: number,
): T[][] {
  const pieces: T[][] = [];
  let bytes = 0;
  for (const item of items) {
    const own = operationsOf(item).reduce((sum, operation) => sum + bytesOfOperation(operation), 0);
    const last = pieces.at(-1);
    const isFull = last === undefined || last.length >= itemsMax || bytes + own > limits.etcdTransactionBytes;
    bytes = isFull ? own : bytes + own;
    if (isFull) pieces.push([item]);
    else last.push(item);
  }
  return pieces;
}
