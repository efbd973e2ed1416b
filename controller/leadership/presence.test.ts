/** A controller says that it lives: its key is there as long as it does, and trouble with etcd ends nothing. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import pino from 'pino';
import { TcpProxy } from '../../test/cluster/proxy.test.part.js';
import { RealEtcd } from '../../test/cluster/real-etcd.test.part.js';
import { clusterKeys } from '../state/keys.js';
import { Mirror } from '../state/mirror.js';
import { type EtcdClient, revokeLease } from './etcd.js';
import { keepPresence } from './presence.js';

const silent = pino({ level: 'silent' });
/** Milliseconds between two renewals, so that a lost lease is soon noticed. */
const everyMs = 50;

let etcd: RealEtcd;
let client: EtcdClient;
let mirror: Mirror;
let key: string;
let count = 0;
let ending: AbortController;
before(async () => {
  etcd = await RealEtcd.start();
  client = etcd.client();
});
beforeEach(async () => {
  const keys = clusterKeys(`presence-${++count}`);
  key = keys.controller('one');
  ending = new AbortController();
  mirror = new Mirror(etcd.connection(), keys.prefix, keys.audit, silent);
  await mirror.start();
});
afterEach(async () => {
  ending.abort();
  await mirror.stop();
});
after(() => etcd.remove());

/** A log that resolves with the first sentence of a warning. */
function firstWarning() {
  const told = new AbortController();
  const said = once(told.signal, 'abort').then(() => String(told.signal.reason));
  const log = { warn: (_fields: object, sentence: string) => told.abort(sentence) };
  return { log: log as Pick<pino.Logger, 'warn'>, said };
}

function until(condition: () => boolean): Promise<void> {
  return mirror.waitFor(condition, 5_000).then((held) => assert.ok(held));
}

describe('the key of a controller', () => {
  test('stays on the lease that it has, renewal by renewal', async () => {
    let renewals = 0;
    let renewed: () => void = () => undefined;
    const thirdRenewal = new Promise<void>((resolve) => {
      renewed = resolve;
    });
    const counting = withLeaseCalls(client, ({ leaseKeepAlive }) => ({
      leaseKeepAlive: () => {
        if (++renewals === 3) renewed();
        return leaseKeepAlive();
      },
    }));
    const keeping = keepPresence(counting, key, 'alive', ending.signal, silent, everyMs);
    await until(() => mirror.get(key) !== undefined);
    const { modRevision } = mirror.get(key) ?? {};
    await thirdRenewal;
    assert.equal(mirror.get(key)?.modRevision, modRevision, 'it was written once');
    ending.abort();
    await keeping;
  });

  test('is there while it lives, comes again when its lease was lost, and goes with it', async () => {
    const keeping = keepPresence(client, key, 'alive', ending.signal, silent, everyMs);
    await until(() => mirror.get(key)?.value === 'alive');
    const first = mirror.get(key)?.lease ?? '';
    await revokeLease(client, first);
    await until(() => mirror.get(key)?.lease !== first && mirror.get(key) !== undefined);
    ending.abort();
    await keeping;
    await until(() => mirror.get(key) === undefined);
  });

  test('comes once etcd can be reached; until then that is logged, and an end needs no etcd', async (t) => {
    const proxy = await TcpProxy.start(etcd.port);
    t.after(() => proxy.stop());
    proxy.refuse(true);
    const { log, said } = firstWarning();
    const other = new AbortController();
    const far = etcd.client(proxy.port);
    const neverThere = keepPresence(far, `${key}-2`, 'alive', other.signal, log, everyMs);
    assert.match(await said, /cannot say that it lives; it tries again/);
    other.abort();
    await neverThere;

    const keeping = keepPresence(far, key, 'alive', ending.signal, silent, everyMs);
    proxy.refuse(false);
    await until(() => mirror.get(key)?.value === 'alive');
    assert.equal(mirror.get(`${key}-2`), undefined);
    ending.abort();
    await keeping;
  });

  test('expires by itself when it cannot be removed, which is logged and is no error', async () => {
    const { log, said } = firstWarning();
    const cutOff = withLeaseCalls(client, () => ({
      leaseRevoke: () => Promise.reject(new Error('cut off')),
    }));
    const keeping = keepPresence(cutOff, key, 'alive', ending.signal, log, everyMs);
    await until(() => mirror.get(key)?.value === 'alive');
    ending.abort();
    await keeping;
    assert.match(await said, /the presence was not revoked; it expires by itself/);
    assert.equal(mirror.get(key)?.value, 'alive');
  });
});

type LeaseCalls = Pick<EtcdClient['leaseClient'], 'leaseKeepAlive' | 'leaseRevoke'>;

/** The same client, some of whose calls for leases are others. */
function withLeaseCalls(real: EtcdClient, others: (calls: LeaseCalls) => Partial<LeaseCalls>): EtcdClient {
  const { kv, leaseClient } = real.member;
  const calls: LeaseCalls = {
    leaseKeepAlive: () => leaseClient.leaseKeepAlive(),
    leaseRevoke: (request) => leaseClient.leaseRevoke(request),
  };
  const changed = Object.assign(Object.create(leaseClient), others(calls));
  return Object.create(real, { member: { value: { kv, leaseClient: changed } } });
}
