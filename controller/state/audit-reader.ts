/** Reads the audit record from etcd, in pieces: it may be longer than one answer. */
import { asPlexiError } from '../../config/errors.js';
import { type EtcdClient, type EtcdEntry, readSome } from '../leadership/etcd.js';
import { AuditChain, type AuditHead } from './audit.js';
import type { ClusterKeys } from './keys.js';

/** Records in one request to etcd. */
const pageSize = 500;

/** What a check of the chain came to. */
export interface Verification {
  /** The number of the first record that is kept; 0: there is none. */
  readonly first: number;
  /** The last record that was found good. */
  readonly last: AuditHead;
  /** Empty: nothing is wrong. */
  readonly problem: string;
}

/** The newest records, newest first. */
export function newestAudit(client: EtcdClient, keys: ClusterKeys, limit: number): Promise<EtcdEntry[]> {
  return readSome(client, keys.audit, { limit, order: 'Descend' });
}

/** Goes over the whole chain, oldest first. Errors: STORE_UNAVAILABLE; what is wrong with the chain is data. */
export async function verifyAudit(client: EtcdClient, keys: ClusterKeys): Promise<Verification> {
  const chain = new AuditChain();
  let first = 0;
  let last: AuditHead = { sequence: 0, hash: '' };
  for (let after: string | undefined; ; ) {
    const page = await readSome(client, keys.audit, { limit: pageSize, order: 'Ascend', after });
    for (const entry of page) {
      try {
        const { sequence, hash } = chain.take(entry);
        if (first === 0) first = sequence;
        last = { sequence, hash };
      } catch (thrown) {
        return { first, last, problem: asPlexiError(thrown, 'STORE_INVALID', entry.key).message };
      }
    }
    if (page.length < pageSize) return { first, last, problem: '' };
    after = page.at(-1)?.key;
  }
}
