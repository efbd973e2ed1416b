/**
 * The way to etcd: the raw kv, lease and watch clients of etcd3, without its retries, breakers,
 * Election, Lease and Watcher classes, whose defects cost a leader or an event (docs/decisions/0002).
 * Every unary call has a deadline; nothing is repeated here, because a transaction whose answer was
 * lost may have been committed.
 */
import { randomInt } from 'node:crypto';
import {
  type Etcd3,
  EtcdLeaseInvalidError,
  EtcdPermissionDeniedError,
  GRPCInvalidArgumentError,
  GRPCOutOfRangeError,
  GRPCUnauthenticatedError,
  type IKeyValue,
} from 'etcd3';
import { PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import { type EtcdConnection, EtcdMembers } from './etcd-members.js';

/** A connection to etcd. */
export type EtcdClient = EtcdMembers;

/** A key with its value and its revisions. */
export interface EtcdEntry {
  readonly key: string;
  readonly value: string;
  readonly createRevision: bigint;
  readonly modRevision: bigint;
  readonly lease: string;
}

export type EtcdOperation =
  | { readonly kind: 'put'; readonly key: string; readonly value: string; readonly lease?: string }
  | { readonly kind: 'delete'; readonly key: string };

export type EtcdCompare =
  | { readonly kind: 'createRevision'; readonly key: string; readonly equals: bigint }
  | { readonly kind: 'modRevision'; readonly key: string; readonly equals: bigint }
  /** No key in the range was written after this revision. Passes on an empty range. */
  | { readonly kind: 'rangeNotAfter'; readonly prefix: string; readonly revision: bigint };

export type { EtcdConnection } from './etcd-members.js';

/**
 * A client for one use (calls, or one watch stream); close it after.
 * @param first which member is asked first; by chance when it is not given, so that each has its share
 */
export function connectEtcd(connection: EtcdConnection, first = anyMember()): EtcdClient {
  return new EtcdMembers(connection, first);
}

/** A number by which one of the members is chosen. */
export function anyMember(): number {
  return randomInt(1_000);
}

/**
 * All keys that begin with a prefix, as they stood together at one revision.
 * @param at that revision; the newest when it is not given
 */
export async function readPrefix(
  client: EtcdClient,
  prefix: string,
  at?: bigint,
): Promise<{ entries: EtcdEntry[]; revision: bigint }> {
  const { kvs, header } = await askAny(client, ({ kv }) =>
    kv.range({
      key: Buffer.from(prefix),
      range_end: rangeEnd(prefix),
      ...(at !== undefined && { revision: String(at) }),
    }),
  );
  return { entries: kvs.map(entryOf), revision: BigInt(header.revision) };
}

/** The same without the keys below another prefix, which is within the first: two ranges in one request. */
export async function readPrefixWithout(
  client: EtcdClient,
  prefix: string,
  without: string,
  at?: bigint,
): Promise<{ entries: EtcdEntry[]; revision: bigint }> {
  const past = at === undefined ? {} : { revision: String(at) };
  const ranges = [
    { key: Buffer.from(prefix), range_end: Buffer.from(without), ...past },
    { key: rangeEnd(without), range_end: rangeEnd(prefix), ...past },
  ];
  const { responses, header } = await askAny(client, ({ kv }) =>
    kv.txn({
      compare: [],
      success: ranges.map((range) => ({ request_range: range })),
      failure: [],
    }),
  );
  const entries = responses.flatMap(({ response_range }) => response_range.kvs.map(entryOf));
  return { entries, revision: BigInt(header.revision) };
}

/** The last key that begins with a prefix, as it stood at a revision; undefined when there is none. */
export async function readLast(
  client: EtcdClient,
  prefix: string,
  at?: bigint,
): Promise<EtcdEntry | undefined> {
  const [last] = await readSome(client, prefix, { limit: 1, order: 'Descend', at });
  return last;
}

/** Some of the keys that begin with a prefix, by key, from one end or behind one of them. */
export async function readSome(
  client: EtcdClient,
  prefix: string,
  {
    limit,
    order,
    after,
    at,
  }: { limit: number; order: 'Ascend' | 'Descend'; after?: string | undefined; at?: bigint | undefined },
): Promise<EtcdEntry[]> {
  const { kvs } = await askAny(client, ({ kv }) =>
    kv.range({
      key: Buffer.from(after === undefined ? prefix : `${after}\0`),
      range_end: rangeEnd(prefix),
      sort_order: order,
      sort_target: 'Key',
      limit: String(limit),
      ...(at !== undefined && { revision: String(at) }),
    }),
  );
  return kvs.map(entryOf);
}

/** One key; undefined when it is absent. */
export async function readKey(
  client: EtcdClient,
  key: string,
): Promise<{ entry: EtcdEntry | undefined; revision: bigint }> {
  const { kvs, header } = await askAny(client, ({ kv }) => kv.range({ key: Buffer.from(key) }));
  return { entry: kvs[0] && entryOf(kvs[0]), revision: BigInt(header.revision) };
}

/**
 * One transaction. @returns the revision when all compares held, undefined when one did not
 * @throws PlexiError STORE_UNAVAILABLE when nobody knows whether it was committed
 */
export async function transact(
  client: EtcdClient,
  compares: readonly EtcdCompare[],
  operations: readonly EtcdOperation[],
): Promise<bigint | undefined> {
  if (Math.max(operations.length, compares.length) > limits.etcdTransactionOperations) {
    throw new PlexiError(
      'LIMIT_EXCEEDED',
      `a transaction of ${operations.length} operations and ${compares.length} compares is too large for etcd`,
    );
  }
  for (const operation of operations) {
    if (operation.kind === 'put' && Buffer.byteLength(operation.value) > limits.etcdValueBytes) {
      throw new PlexiError(
        'LIMIT_EXCEEDED',
        `the value of ${operation.key} is over ${limits.etcdValueBytes} bytes`,
      );
    }
  }
  const response = await askOne(client, ({ kv }) =>
    kv.txn({
      compare: compares.map(compareRequest),
      success: operations.map(operationRequest),
      failure: [],
    }),
  );
  return response.succeeded ? BigInt(response.header.revision) : undefined;
}

/** The end of the range of all keys that begin with a prefix. */
export function rangeEnd(prefix: string): Buffer {
  const end = Buffer.from(prefix);
  const last = end.length - 1;
  end.writeUInt8(end.readUInt8(last) + 1, last);
  return end;
}

export function entryOf(kv: IKeyValue): EtcdEntry {
  return {
    key: kv.key.toString(),
    value: kv.value.toString(),
    createRevision: BigInt(kv.create_revision),
    modRevision: BigInt(kv.mod_revision),
    lease: kv.lease,
  };
}

function compareRequest(compare: EtcdCompare) {
  switch (compare.kind) {
    case 'createRevision':
      return {
        key: Buffer.from(compare.key),
        target: 'Create',
        result: 'Equal',
        create_revision: String(compare.equals),
      } as const;
    case 'modRevision':
      return {
        key: Buffer.from(compare.key),
        target: 'Mod',
        result: 'Equal',
        mod_revision: String(compare.equals),
      } as const;
    case 'rangeNotAfter':
      // etcd3's type lacks range_end, which its proto knows.
      return {
        key: Buffer.from(compare.prefix),
        range_end: rangeEnd(compare.prefix),
        target: 'Mod',
        result: 'Less',
        mod_revision: String(compare.revision + 1n),
      } as const;
  }
}

function operationRequest(operation: EtcdOperation) {
  return operation.kind === 'put'
    ? {
        request_put: {
          key: Buffer.from(operation.key),
          value: Buffer.from(operation.value),
          ...(operation.lease !== undefined && { lease: operation.lease }),
        },
      }
    : { request_delete_range: { key: Buffer.from(operation.key) } };
}

/** What etcd answers when it has understood and will not; nothing was written then. */
const refusals = [
  GRPCInvalidArgumentError,
  GRPCOutOfRangeError,
  EtcdPermissionDeniedError,
  GRPCUnauthenticatedError,
];

function isRefusal(thrown: unknown): thrown is Error {
  return refusals.some((refusal) => thrown instanceof refusal);
}

/** A question, or what may be done twice: each member is asked until one answers. */
async function askAny<T>(client: EtcdClient, call: (member: Etcd3) => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await askOne(client, call);
    } catch (error) {
      const isLast = tries >= client.size;
      if (isLast || !(error instanceof PlexiError) || error.code !== 'STORE_UNAVAILABLE') throw error;
    }
  }
}

/** One call to one member, which is not asked again when it did not answer. */
async function askOne<T>(client: EtcdClient, call: (member: Etcd3) => Promise<T>): Promise<T> {
  const { member } = client;
  try {
    return await call(member);
  } catch (cause) {
    if (isRefusal(cause)) {
      throw new PlexiError('STORE_INVALID', `etcd refused the request: ${cause.message}`, { cause });
    }
    client.moveOn(member);
    throw new PlexiError(
      'STORE_UNAVAILABLE',
      'etcd did not answer: it is down, cut off or overloaded; look at its log',
      { cause },
    );
  }
}

/** A new lease. Asked twice, the first one expires by itself. @throws PlexiError STORE_UNAVAILABLE */
export async function grantLease(client: EtcdClient, ttlSeconds: number): Promise<string> {
  return (await askAny(client, ({ leaseClient }) => leaseClient.leaseGrant({ TTL: ttlSeconds }))).ID;
}

/** Ends a lease, and every key on it. @throws PlexiError STORE_UNAVAILABLE */
export async function revokeLease(client: EtcdClient, lease: string): Promise<void> {
  await askAny(client, async ({ leaseClient }) => {
    try {
      await leaseClient.leaseRevoke({ ID: lease });
    } catch (thrown) {
      // Gone already, by time or by the first of two tries.
      if (!(thrown instanceof EtcdLeaseInvalidError)) throw thrown;
    }
  });
}

/**
 * One renewal, on a stream of its own. @returns what is left in milliseconds, 0 when the lease is gone
 * @throws PlexiError STORE_UNAVAILABLE when the member did not answer in time; the next try asks another
 */
export function renewLease(client: EtcdClient, lease: string, timeoutMs: number): Promise<number> {
  return askOne(client, async ({ leaseClient }) => {
    const stream = await leaseClient.leaseKeepAlive();
    return new Promise<number>((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(new Error('no answer to a renewal'));
        stream.cancel();
      }, timeoutMs);
      stream.on('data', (answer) => {
        clearTimeout(timer);
        resolve(Number(answer.TTL) * 1_000);
        stream.end();
      });
      stream.on('error', (error) => {
        clearTimeout(timer);
        reject(error);
      });
      stream.on('end', () => {
        clearTimeout(timer);
        reject(new Error('etcd ended the stream of renewals'));
      });
      stream.write({ ID: lease });
    });
  });
}
