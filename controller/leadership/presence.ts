/**
 * A controller says that it lives, under a key of its own on a lease of its own, so that the others can
 * tell which replicas there are and whether all loaded the same policy. Nothing rests on it but a
 * warning and the refusal of a start: a lease that ends early costs no safety.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Etcd3 } from 'etcd3';
import type { Logger } from 'pino';
import { transact } from './etcd.js';

/** Seconds after which a controller that is gone is no longer listed. */
const ttlSeconds = 15;
/** Milliseconds between two renewals. */
const renewMs = 5_000;

/** Keeps the key until the signal is aborted, and removes it then. Never throws: trouble is logged. */
export async function keepPresence(
  client: Etcd3,
  key: string,
  value: string,
  signal: AbortSignal,
  log: Logger,
): Promise<void> {
  let lease: string | undefined;
  while (!signal.aborted) {
    try {
      lease =
        lease === undefined || !(await renew(client, lease)) ? await announce(client, key, value) : lease;
    } catch (thrown) {
      log.warn({ err: thrown }, 'this controller cannot say that it lives; it tries again');
    }
    await sleep(renewMs, undefined, { signal, ref: false }).catch(() => undefined);
  }
  if (lease === undefined) return;
  await client.leaseClient
    .leaseRevoke({ ID: lease })
    .catch((thrown) => log.warn({ err: thrown }, 'the presence was not revoked; it expires by itself'));
}

async function announce(client: Etcd3, key: string, value: string): Promise<string> {
  const { ID: lease } = await client.leaseClient.leaseGrant({ TTL: ttlSeconds });
  await transact(client, [], [{ kind: 'put', key, value, lease }]);
  return lease;
}

/** Whether the lease still stands. */
async function renew(client: Etcd3, lease: string): Promise<boolean> {
  const stream = await client.leaseClient.leaseKeepAlive();
  try {
    return await new Promise<boolean>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error('no answer to a renewal')), renewMs);
      timer.unref();
      stream.on('data', (answer) => {
        clearTimeout(timer);
        resolve(Number(answer.TTL) > 0);
      });
      stream.on('error', (error) => {
        clearTimeout(timer);
        reject(error);
      });
      stream.write({ ID: lease });
    });
  } finally {
    stream.end();
  }
}
