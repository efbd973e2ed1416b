/**
 * A controller that lived through a restore of etcd sees its revision go back. It says so under a key, for
 * whoever leads now or later; the operator's word removes it (protocol, rule 21).
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { epochOf } from '../leadership/campaign.js';
import { type EtcdClient, readKey, transact } from '../leadership/etcd.js';
import type { ClusterKeys } from './keys.js';

/** Milliseconds between two tries. */
const againMs = 500;

/**
 * Writes the key, unless the epoch was raised since: then the operator has spoken already. Tries until it is
 * known, or the signal is aborted.
 * @param seenEpoch the epoch as it stood before the revision went back; 0 when there was none
 */
export async function markRestored(
  { client, keys, signal, log }: { client: EtcdClient; keys: ClusterKeys; signal: AbortSignal; log: Logger },
  seenEpoch: bigint,
  reason: string,
): Promise<void> {
  log.error({ reason }, 'etcd was restored');
  while (!signal.aborted) {
    try {
      const { entry } = await readKey(client, keys.epoch);
      if (entry !== undefined && epochOf(entry) > seenEpoch) return;
      const { entry: stands } = await readKey(client, keys.restored);
      if (stands !== undefined) return;
      const compares = [
        { kind: 'createRevision', key: keys.restored, equals: 0n },
        { kind: 'modRevision', key: keys.epoch, equals: entry?.modRevision ?? 0n },
      ] as const;
      const value = JSON.stringify({ reason });
      if ((await transact(client, compares, [{ kind: 'put', key: keys.restored, value }])) !== undefined)
        return;
    } catch (thrown) {
      log.warn({ err: thrown }, 'that etcd was restored could not be stored; it is tried again');
      await sleep(againMs, undefined, { signal, ref: false }).catch(() => undefined);
    }
  }
}
