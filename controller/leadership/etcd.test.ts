/**
 * The way to etcd, against a real one: what a transaction compares, what is refused before it is sent,
 * and that no call outlives its deadline.
 */
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import { RealEtcd } from '../../test/cluster/real-etcd.test.part.js';
import {
  connectEtcd,
  type EtcdClient,
  type EtcdOperation,
  readKey,
  readLast,
  readPrefix,
  readPrefixWithout,
  readSome,
  transact,
} from './etcd.js';

let etcd: RealEtcd;
let client: EtcdClient;
before(async () => {
  etcd = await RealEtcd.start();
  client = etcd.client();
});
after(() => etcd.remove());
afterEach(() => etcd.thaw());

function puts(prefix: string, count: number, value = 'x'): EtcdOperation[] {
  return Array.from({ length: count }, (_, index) => ({ kind: 'put', key: `${prefix}${index}`, value }));
}

async function revisionNow(): Promise<bigint> {
  return (await readKey(client, 'nothing')).revision;
}

function hasCode(code: string) {
  return (thrown: unknown): boolean => thrown instanceof PlexiError && thrown.code === code;
}

describe('a compare over a range', () => {
  test('passes on an empty range', async () => {
    const done = await transact(
      client,
      [{ kind: 'rangeNotAfter', prefix: '/empty/', revision: await revisionNow() }],
      puts('/a/', 1),
    );
    assert.equal(typeof done, 'bigint');
  });

  test('passes on keys written up to the revision, and fails on one written after it', async () => {
    const written = await transact(client, [], puts('/slots/', 3));
    assert.ok(written !== undefined);
    const notAfter = (revision: bigint) =>
      transact(client, [{ kind: 'rangeNotAfter', prefix: '/slots/', revision }], puts('/b/', 1));
    assert.notEqual(await notAfter(written), undefined);
    assert.equal(await notAfter(written - 1n), undefined, 'the range was written after that revision');
    await transact(client, [], [{ kind: 'put', key: '/slots/1', value: 'again' }]);
    assert.equal(await notAfter(written), undefined, 'one of the keys was written again');
  });

  test('is not bothered by neighbours of the prefix, nor by what was deleted', async () => {
    const start = await revisionNow();
    await transact(client, [], [...puts('/near', 1), ...puts('/near0', 1), ...puts('/near/', 1)]);
    await transact(client, [], [{ kind: 'delete', key: '/near/0' }]);
    const done = await transact(
      client,
      [{ kind: 'rangeNotAfter', prefix: '/near/', revision: start }],
      puts('/c/', 1),
    );
    assert.notEqual(done, undefined);
  });
});

test('an absent key compares as created, and as changed, at revision 0', async () => {
  const absent = [
    { kind: 'createRevision', key: '/once', equals: 0n },
    { kind: 'modRevision', key: '/once', equals: 0n },
  ] as const;
  const first = await transact(client, absent, [{ kind: 'put', key: '/once', value: '1' }]);
  assert.ok(first !== undefined);
  assert.equal(await transact(client, absent, [{ kind: 'put', key: '/once', value: '2' }]), undefined);
  const { entry } = await readKey(client, '/once');
  assert.deepEqual([entry?.value, entry?.createRevision, entry?.modRevision], ['1', first, first]);
});

test('a prefix is read as it stood at one revision, however much it is', async () => {
  const value = 'v'.repeat(limits.etcdValueBytes);
  for (let part = 0; part < 10; part++) await transact(client, [], puts(`/much/${part}/`, 10, value));
  await transact(client, [], puts('/much0', 1));
  const { entries, revision } = await readPrefix(client, '/much/');
  assert.equal(entries.length, 100);
  assert.ok(entries.every((entry) => entry.value.length === value.length && entry.modRevision < revision));
  assert.equal(revision, await revisionNow());
});

describe('part of what there is', () => {
  before(async () => {
    await transact(client, [], [...puts('/part/', 5), ...puts('/part/audit/', 3), ...puts('/part0', 1)]);
  });

  const names = (entries: readonly { key: string }[]) => entries.map(({ key }) => key.slice('/part/'.length));

  test('is read page by page, from either end', async () => {
    const first = await readSome(client, '/part/audit/', { limit: 2, order: 'Ascend' });
    assert.deepEqual(names(first), ['audit/0', 'audit/1']);
    const after = first.at(-1)?.key;
    const second = await readSome(client, '/part/audit/', { limit: 2, order: 'Ascend', after });
    assert.deepEqual(names(second), ['audit/2']);
    const last = await readSome(client, '/part/audit/', { limit: 2, order: 'Descend' });
    assert.deepEqual(names(last), ['audit/2', 'audit/1']);
  });

  test('is read without what is below another prefix', async () => {
    const { entries } = await readPrefixWithout(client, '/part/', '/part/audit/');
    assert.deepEqual(names(entries), ['0', '1', '2', '3', '4']);
  });

  test('is read as it stood at an earlier revision', async () => {
    const then = await revisionNow();
    await transact(client, [], puts('/part/audit/later', 1));
    assert.equal((await readLast(client, '/part/audit/'))?.key, '/part/audit/later0');
    assert.equal((await readLast(client, '/part/audit/', then))?.key, '/part/audit/2');
    assert.equal((await readPrefix(client, '/part/audit/', then)).entries.length, 3);
    await transact(client, [], puts('/part/later', 1));
    const without = await readPrefixWithout(client, '/part/', '/part/audit/', then);
    assert.deepEqual(names(without.entries), ['0', '1', '2', '3', '4']);
    assert.equal(await readLast(client, '/nobody/'), undefined);
  });
});

test('what etcd has understood and refuses is told as its refusal, and asked of no other member', async () => {
  const { endpoints, ...rest } = etcd.connection();
  const twice = connectEtcd({ ...rest, endpoints: [...endpoints, 'https://127.0.0.1:1'] }, 0);
  const future = (await revisionNow()) + 1_000n;
  await assert.rejects(readPrefix(twice, '/x/', future), (thrown: unknown) => {
    assert.ok(hasCode('STORE_INVALID')(thrown), String(thrown));
    assert.match(String(thrown), /etcd refused the request: .*future revision/);
    return true;
  });
  twice.close();
});

test('a member that does not answer is left for the next one; a client without any says so', async () => {
  const { endpoints, ...rest } = etcd.connection();
  const both = connectEtcd({ ...rest, endpoints: ['https://127.0.0.1:1', ...endpoints] }, 0);
  assert.ok((await readKey(both, '/x')).revision > 0n);
  assert.ok(await transact(both, [], puts('/moved/', 1)), 'what may not be sent twice goes there at once');
  both.close();
  await assert.rejects(readKey(connectEtcd({ ...rest, endpoints: [] }), '/x'), hasCode('CONFIG_INVALID'));
});

describe('what etcd would refuse is refused before it is sent', () => {
  test('128 operations go, 129 do not', async () => {
    assert.notEqual(await transact(client, [], puts('/many/', 128)), undefined);
    const before = await revisionNow();
    await assert.rejects(transact(client, [], puts('/more/', 129)), hasCode('LIMIT_EXCEEDED'));
    assert.equal(await revisionNow(), before);
  });

  test('128 compares go, 129 do not', async () => {
    const compares = (count: number) =>
      Array.from(
        { length: count },
        (_, index) => ({ kind: 'createRevision', key: `/no/${index}`, equals: 0n }) as const,
      );
    assert.notEqual(await transact(client, compares(128), puts('/d/', 1)), undefined);
    await assert.rejects(transact(client, compares(129), puts('/d/', 1)), hasCode('LIMIT_EXCEEDED'));
  });

  test('a value of 64 KiB goes, one byte more does not; bytes count, not characters', async () => {
    const put = (value: string) => transact(client, [], [{ kind: 'put', key: '/big', value }]);
    assert.notEqual(await put('x'.repeat(limits.etcdValueBytes)), undefined);
    await assert.rejects(put('x'.repeat(limits.etcdValueBytes + 1)), hasCode('LIMIT_EXCEEDED'));
    await assert.rejects(put('é'.repeat(limits.etcdValueBytes / 2 + 1)), hasCode('LIMIT_EXCEEDED'));
    assert.equal((await readKey(client, '/big')).entry?.value.length, limits.etcdValueBytes);
  });
});

describe('no answer', () => {
  test('a frozen etcd is unavailable, for reads and for writes: nobody waits until it is back', async () => {
    etcd.freeze();
    const calls = [
      transact(client, [], puts('/e/', 1)),
      readPrefix(client, '/e/'),
      readKey(etcd.client(), '/e/0'),
    ];
    for (const outcome of await Promise.allSettled(calls)) {
      assert.equal(outcome.status, 'rejected');
      assert.ok(hasCode('STORE_UNAVAILABLE')(outcome.reason), String(outcome.reason));
    }
    // It is still frozen: each call was ended by its own bound.
    etcd.thaw();
    assert.ok((await readKey(client, '/e/0')).revision > 0n, 'the same client goes on afterwards');
  });

  test('where nobody listens the sentence says so', async () => {
    await assert.rejects(readKey(etcd.client(await RealEtcd.unusedPort()), '/e/0'), (thrown) => {
      assert.ok(thrown instanceof PlexiError);
      assert.equal(thrown.code, 'STORE_UNAVAILABLE');
      assert.match(thrown.message, /^etcd did not answer: /);
      return true;
    });
  });
});
