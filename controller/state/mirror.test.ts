/**
 * The mirror against a real etcd, through a proxy that breaks the connection where it hurts. After
 * whatever happened it equals etcd, and at no moment does it claim a revision that it has not seen.
 */
import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, type TestContext, test } from 'node:test';
import pino from 'pino';
import { TcpProxy } from '../../test/cluster/proxy.test.part.js';
import { RealEtcd } from '../../test/cluster/real-etcd.test.part.js';
import { type EtcdClient, type EtcdEntry, readPrefix, transact } from '../leadership/etcd.js';
import { Mirror, type WentBack } from './mirror.js';

const log = pino({ level: 'silent' });

let etcd: RealEtcd;
let client: EtcdClient;
let proxy: TcpProxy;
let mirror: Mirror;
let prefix = '';
let count = 0;
before(async () => {
  etcd = await RealEtcd.start();
  client = etcd.client();
});
beforeEach(async () => {
  prefix = `/mirror/${++count}/`;
  proxy = await TcpProxy.start(etcd.port);
  mirror = new Mirror(etcd.connection(proxy.port), prefix, `${prefix}past/`, log);
});
afterEach(async () => {
  etcd.thaw();
  proxy.set('up', 'pass');
  proxy.set('down', 'pass');
  await mirror.stop();
  await proxy.stop();
});
after(() => etcd.remove());

async function put(key: string, value: string): Promise<bigint> {
  const revision = await transact(client, [], [{ kind: 'put', key: prefix + key, value }]);
  assert.ok(revision !== undefined);
  return revision;
}

/** Many changes, each with a revision of its own. */
async function putMany(changes: number, keys: number): Promise<void> {
  const numbers = Array.from({ length: changes }, (_, index) => index);
  const worker = async (): Promise<void> => {
    for (let number = numbers.shift(); number !== undefined; number = numbers.shift())
      await put(`key-${String(number % keys).padStart(4, '0')}`, `${number} ${'.'.repeat(40)}`);
  };
  await Promise.all(Array.from({ length: 64 }, worker));
}

function comparable(entries: readonly EtcdEntry[]): string[] {
  return entries.map(({ key, value, modRevision }) => `${key}=${value}@${modRevision}`).sort();
}

/** Waits until the mirror has caught up with etcd, and compares. */
async function assertEqualsEtcd(): Promise<void> {
  const { entries } = await readPrefix(client, prefix);
  const wanted = comparable(entries);
  const isEqual = (): boolean => comparable(mirror.under(prefix)).join('\n') === wanted.join('\n');
  await mirror.waitFor(isEqual, 10_000);
  assert.deepEqual(comparable(mirror.under(prefix)), wanted);
}

/** What a listener was told, and whether the mirror ever claimed what it had not seen. */
function record(of: Mirror) {
  const told: { key: string; revision: bigint | undefined }[] = [];
  const revisions: bigint[] = [];
  of.listen(({ keys }) => {
    revisions.push(of.revision);
    for (const key of keys) told.push({ key, revision: of.get(key)?.modRevision });
  });
  return { told, revisions };
}

describe('while nothing breaks', () => {
  test('it starts with what there is, and hears every change in order', async () => {
    await put('before', '1');
    await mirror.start();
    assert.equal(mirror.get(`${prefix}before`)?.value, '1');
    const { told } = record(mirror);
    const written: bigint[] = [];
    for (let number = 0; number < 50; number++) written.push(await put(`item-${number}`, String(number)));
    await mirror.waitFor(() => mirror.revision >= (written.at(-1) ?? 0n), 5_000);
    assert.deepEqual(
      told.map(({ revision }) => revision),
      written,
    );
    await assertEqualsEtcd();
  });

  test('a deleted key is gone, and its listener is told', async () => {
    await put('gone', '1');
    await put('kept', '1');
    await mirror.start();
    const { told } = record(mirror);
    await transact(client, [], [{ kind: 'delete', key: `${prefix}gone` }]);
    assert.ok(await mirror.waitFor(() => mirror.get(`${prefix}gone`) === undefined, 5_000));
    assert.deepEqual(told, [{ key: `${prefix}gone`, revision: undefined }]);
    assert.deepEqual(
      mirror.under(prefix).map(({ key }) => key),
      [`${prefix}kept`],
    );
  });

  test('changes of one transaction are told together', async () => {
    await mirror.start();
    const changes: (readonly string[])[] = [];
    mirror.listen(({ keys }) => changes.push(keys));
    const keys = ['a', 'b', 'c'].map((name) => prefix + name);
    await transact(
      client,
      [],
      keys.map((key) => ({ kind: 'put', key, value: '1' })),
    );
    await mirror.waitFor(() => changes.length > 0, 5_000);
    assert.deepEqual(changes, [keys]);
  });

  test('what is outside of the prefix, or not kept, is not there', async () => {
    const picky = new Mirror(etcd.connection(), prefix, `${prefix}not/`, log);
    await put('a', '1');
    await put('not/x', '1');
    await picky.start();
    await transact(client, [], [{ kind: 'put', key: '/mirrorx', value: '1' }]);
    await put('not/y', '1');
    const last = await put('z', '1');
    await picky.waitFor(() => picky.revision >= last, 5_000);
    assert.deepEqual(
      picky.under('').map(({ key }) => key),
      [`${prefix}a`, `${prefix}z`],
    );
    await picky.stop();
  });
});

describe('waitFor', () => {
  test('answers at once, at the change, or after the time', async () => {
    await mirror.start();
    assert.equal(await mirror.waitFor(() => true, 0), true);
    assert.equal(await mirror.waitFor(() => false, 30), false);
    const waiting = mirror.waitFor(() => mirror.get(`${prefix}it`) !== undefined, 5_000);
    await put('other', '1');
    await put('it', '1');
    assert.equal(await waiting, true);
  });

  test('tells what its condition throws to who waits, and goes on for the others', async () => {
    await mirror.start();
    const other = mirror.waitFor(() => mirror.get(`${prefix}it`) !== undefined, 5_000);
    const unreadable = mirror.waitFor(() => {
      const entry = mirror.get(`${prefix}it`);
      return entry !== undefined && JSON.parse(entry.value) === 1;
    }, 5_000);
    const refused = assert.rejects(unreadable, SyntaxError);
    await put('it', 'no JSON');
    await refused;
    assert.equal(await other, true);
  });
});

describe('while connections break', () => {
  test('a replay of 3,000 changes is cut in the middle, and nothing is missed', async () => {
    // A list of 40 kB, so that the proxy knows by its length when it is over and the watch begins.
    for (let number = 0; number < 40; number++) await put(`listed-${number}`, '.'.repeat(1_000));
    proxy.watchDown((bytes) => {
      if (bytes > 40_000) proxy.set('up', 'hold');
    });
    await mirror.start();
    const { told, revisions } = record(mirror);
    const seenAtTell: boolean[] = [];
    mirror.listen(() =>
      // Whatever it claims to have seen it has seen: no later event may be older than its revision.
      seenAtTell.push(told.every(({ revision }) => revision === undefined || revision <= mirror.revision)),
    );
    await putMany(3_000, 700);
    let cutAt = 0;
    proxy.watchDown(undefined);
    mirror.listen(() => {
      if (cutAt !== 0 || told.length === 0) return;
      cutAt = told.length;
      proxy.cut();
    });
    proxy.set('up', 'pass');
    await assertEqualsEtcd();
    assert.ok(cutAt > 0 && cutAt < 3_000, `the cut came after ${cutAt} changes, so it proved nothing`);
    assert.ok(proxy.accepted >= 2, 'the mirror had to connect again');
    assert.ok(seenAtTell.every(Boolean));
    assert.deepEqual(
      revisions,
      [...revisions].sort((a, b) => (a < b ? -1 : Number(a > b))),
    );
  });

  test('in a long replay it never claims a revision whose changes it has not told', async () => {
    for (let number = 0; number < 40; number++) await put(`listed-${number}`, '.'.repeat(1_000));
    proxy.watchDown((bytes) => {
      if (bytes > 40_000) proxy.set('up', 'hold');
    });
    await mirror.start();
    proxy.watchDown(undefined);
    let claimed = mirror.revision;
    const late: bigint[] = [];
    mirror.listen(({ keys }) => {
      for (const key of keys) {
        const revision = mirror.get(key)?.modRevision ?? 0n;
        if (revision <= claimed) late.push(revision);
      }
      claimed = mirror.revision;
    });
    await putMany(2_500, 2_500);
    proxy.set('up', 'pass');
    await assertEqualsEtcd();
    assert.equal(proxy.accepted, 1, 'it was one replay over one connection');
    assert.equal(late.length, 0, `${late.length} changes came after their revision was claimed`);
  });

  test('a compaction under a broken watch leads to a new list', async () => {
    await put('old', '1');
    await put('kept', '1');
    await mirror.start();
    proxy.refuse(true);
    await put('new', '1');
    const revision = await transact(client, [], [{ kind: 'delete', key: `${prefix}old` }]);
    assert.ok(revision !== undefined);
    await put('new', '2');
    await client.kv.compact({ revision: String(revision), physical: true });
    proxy.refuse(false);
    await assertEqualsEtcd();
    const last = await put('after', '1');
    assert.ok(await mirror.waitFor(() => mirror.revision >= last, 5_000), 'and it watches again');
  });

  test('connections that are cut again and again', async () => {
    await mirror.start();
    for (let cuts = 0; cuts < 4; cuts++) {
      const before = mirror.revision;
      const writing = putMany(200, 50);
      assert.ok(await mirror.waitFor(() => mirror.revision > before, 5_000));
      proxy.cut();
      await writing;
      await assertEqualsEtcd();
    }
  });
});

describe('while etcd is away', () => {
  test('down while the watch is built anew again and again, then back with other changes', async () => {
    let broke = 0;
    let tell = (): void => undefined;
    const thrice = new Promise<void>((resolve) => {
      tell = resolve;
    });
    const write = (): void => void (++broke === 3 && tell());
    const watched = pino({ level: 'warn' }, { write });
    const own = new Mirror(etcd.connection(), prefix, `${prefix}past/`, watched);
    await put('a', '1');
    await own.start();
    await etcd.kill();
    await thrice;
    assert.equal(own.get(`${prefix}a`)?.value, '1', 'what was known is still known');
    await etcd.run();
    const last = await put('a', '2');
    await transact(client, [], [{ kind: 'delete', key: `${prefix}b` }]);
    assert.ok(await own.waitFor(() => own.revision >= last, 10_000));
    assert.equal(own.get(`${prefix}a`)?.value, '2');
    await own.stop();
  });

  test('it can be stopped at any moment: before it began, while it begins, while etcd is away', async () => {
    const fresh = () => new Mirror(etcd.connection(proxy.port), prefix, `${prefix}past/`, log);
    await fresh().stop();
    const begun = fresh();
    await begun.start();
    await begun.stop();
    proxy.refuse(true);
    const waiting = fresh();
    const started = waiting.start();
    await waiting.stop();
    assert.equal(await Promise.race([started, Promise.resolve('it did not start')]), 'it did not start');
    proxy.refuse(false);
  });

  describe('a member that lies behind what another one has told', () => {
    /** What the mirror is told of etcd's past, after its list lay behind for so many looks. */
    async function behindFor(t: TestContext, looks: number, meanwhile: () => Promise<unknown>) {
      const told: WentBack[] = [];
      const own = new Mirror(etcd.connection(proxy.port), prefix, `${prefix}past/`, log, (back) =>
        told.push(back),
      );
      await put('a', '1');
      await own.start();
      let left = looks;
      const { txn } = Object.getPrototypeOf(client.kv);
      t.mock.method(
        Object.getPrototypeOf(client.kv),
        'txn',
        async function (this: unknown, ...words: unknown[]) {
          const answer: { header: object } = await Reflect.apply(txn, this, words);
          const isList = this !== client.kv && left > 0;
          if (isList) left -= 1;
          return isList ? { ...answer, header: { ...answer.header, revision: '1' } } : answer;
        },
      );
      proxy.cut();
      await meanwhile();
      const last = await put('b', '2');
      assert.ok(await own.waitFor(() => own.revision >= last, 20_000));
      await own.stop();
      assert.equal(left, 0, 'it was behind');
      return told;
    }

    test('for a moment was not restored', async (t) => {
      assert.deepEqual(await behindFor(t, 3, () => put('a', '3')), []);
    });

    test('all the time was restored', async (t) => {
      assert.deepEqual(
        (await behindFor(t, 10, async () => undefined)).map(({ to }) => to),
        [1n],
      );
    });
  });

  test('an etcd that was restored, and has come as far again, has another past', async (t) => {
    const other = await RealEtcd.start();
    t.after(() => other.remove());
    const writer = other.client();
    const write = (value: string) =>
      transact(writer, [], [{ kind: 'put', key: `${prefix}a`, value }]).then((revision) => revision ?? 0n);
    const told: WentBack[] = [];
    const own = new Mirror(other.connection(), prefix, `${prefix}past/`, log, (back) => told.push(back));
    for (let count = 0; count < 20; count++) await write(`before ${count}`);
    await own.start();
    const high = own.revision;
    const { txn } = Object.getPrototypeOf(writer.kv);
    let isSeen: () => void = () => undefined;
    const seen = new Promise<void>((resolve) => {
      isSeen = resolve;
    });
    t.mock.method(
      Object.getPrototypeOf(writer.kv),
      'txn',
      async function (this: unknown, ...words: unknown[]) {
        const answer: { header: { revision: string } } = await Reflect.apply(txn, this, words);
        if (this !== writer.kv && BigInt(answer.header.revision) < high) isSeen();
        return answer;
      },
    );
    await other.kill();
    await other.wipe();
    await other.run();
    await seen;
    let last = 0n;
    while (last <= high) last = await write('after');
    assert.ok(await own.waitFor(() => own.revision >= last, 10_000));
    await own.stop();
    assert.equal(told.length, 1);
    assert.ok((told[0]?.to ?? 0n) > high, 'it was told by its contents');
  });

  test('a restored etcd, whose revisions are lower, is mirrored all the same', async () => {
    await putMany(50, 5);
    await mirror.start();
    const high = mirror.revision;
    await etcd.kill();
    await etcd.wipe();
    await etcd.run();
    await put('new-life', '1');
    assert.ok(await mirror.waitFor(() => mirror.get(`${prefix}new-life`) !== undefined, 10_000));
    const next = await put('new-life', '2');
    assert.ok(next < high, 'its revisions are lower than those before');
    await assertEqualsEtcd();
  });
});
