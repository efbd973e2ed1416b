/**
 * A controller says that it lives, under a key of its own on a lease of its own, so that the others can
 * tell which replicas there are and whether all loaded the same policy. Nothing rests on it but a
 * warning and the refusal of a start: a lease that ends early costs no safety.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { type EtcdClient, grantLease, renewLease, revokeLease, transact } from './etcd.js';

/** Seconds after which a controller that is gone is no longer listed. */
const ttlSeconds = 15;
/** Milliseconds between two renewals. */
const renewMs = 5_000;

/**
 * Keeps the key until the signal is aborted, and removes it then. Never throws: trouble is logged.
 * @param everyMs milliseconds between two renewals
 */
export async function keepPresence(
  client: EtcdClient,
  key: string,
  value: string,
  signal: AbortSignal,
  log: Pick<Logger, 'warn'>,
  everyMs = renewMs,
): Promise<void> {
  let lease: string | undefined;
  while (!signal.aborted) {
    try {
      lease =
        lease === undefined || (await renewLease(client, lease, renewMs)) === 0
          ? await announce(client, key, value)
          : lease;
    } catch (thrown) {
      log.warn({ err: thrown }, 'this controller cannot say that it lives; it tries again');
    }
    await sleep(everyMs, undefined, { signal, ref: false }).catch(() => undefined);
  }
  if (lease === undefined) return;
  await revokeLease(client, lease).catch((thrown) =>
    log.warn({ err: thrown }, 'the presence was not revoked; it expires by itself'),
  );
}

async function announce(client: EtcdClient, key: string, value: string): Promise<string> {
  const lease = await grantLease(client, ttlSeconds);
  await transact(client, [], [{ kind: 'put', key, value, lease }]);
  return lease;
}
