/**
 * The fence: what is lower than it is refused, an equal token belongs to one command, and a token that no
 * journal record carries is on the disk before anybody may act on it.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { compareTokens, Fence, type FenceDisk, type FenceToken, openFence } from './fence.js';

/** Keeps the file in memory; `write` asks `gate` first, so that a test can hold it up or make it fail. */
class MemoryFenceDisk implements FenceDisk {
  gate: () => Promise<void> = async () => undefined;

  constructor(public bytes: Uint8Array | undefined = undefined) {}

  async read(): Promise<Uint8Array | undefined> {
    return this.bytes;
  }

  async write(bytes: Uint8Array): Promise<void> {
    await this.gate();
    this.bytes = bytes;
  }
}

function token(epoch: number, term: number, seq: number): FenceToken {
  return { epoch: BigInt(epoch), term: BigInt(term), seq: BigInt(seq) };
}

async function fenceAt(raised: FenceToken, holder: string): Promise<{ disk: MemoryFenceDisk; fence: Fence }> {
  const disk = new MemoryFenceDisk();
  const fence = await Fence.create(disk);
  await fence.raise(raised, holder);
  return { disk, fence };
}

const stale = { code: 'STALE_TOKEN' };

describe('the fence', () => {
  test('of a new node is below every token, and on the disk at once', async () => {
    const disk = new MemoryFenceDisk();
    const fence = await Fence.create(disk);
    fence.check(token(1, 1, 1), 'anybody');
    assert.deepEqual((await Fence.open(disk)).current, fence.current);
    assert.deepEqual(fence.current?.token, token(0, 0, 0));
  });

  test('refuses a lower epoch, a lower term of it, and a lower seq of that', async () => {
    const { disk, fence } = await fenceAt(token(2, 20, 200), 'a');
    const bytes = disk.bytes;
    for (const lower of [token(1, 99, 999), token(2, 19, 999), token(2, 20, 199)]) {
      assert.throws(() => fence.check(lower, 'a'), stale);
      await assert.rejects(fence.raise(lower, 'a'), stale);
      await assert.rejects(fence.raise(lower, 'a', { term: 99n, nonce: 'n' }), stale);
    }
    assert.equal(disk.bytes, bytes);
    assert.deepEqual(fence.current?.token, token(2, 20, 200));
  });

  test('takes a higher epoch, term or seq, whatever stands behind it', async () => {
    for (const higher of [token(3, 1, 1), token(2, 21, 1), token(2, 20, 201)]) {
      const { disk, fence } = await fenceAt(token(2, 20, 200), 'a');
      fence.check(higher, 'b');
      assert.deepEqual(fence.current?.token, token(2, 20, 200), 'a check raises nothing');
      await fence.raise(higher, 'b');
      const reopened = await Fence.open(disk);
      assert.deepEqual(reopened.current, { token: higher, holder: 'b', lineage: undefined });
      assert.throws(() => reopened.check(token(2, 20, 200), 'a'), stale);
    }
  });

  test('takes the same token from its holder only, also after a restart', async () => {
    const { disk, fence } = await fenceAt(token(2, 20, 200), 'a');
    for (const it of [fence, await Fence.open(disk)]) {
      await it.raise(token(2, 20, 200), 'a');
      assert.throws(() => it.check(token(2, 20, 200), 'b'), stale);
      await assert.rejects(it.raise(token(2, 20, 200), 'b'), stale);
      assert.equal(it.current?.holder, 'a');
    }
  });

  test('keeps numbers that are larger than a double can count', async () => {
    const huge = { epoch: 1n, term: 18_446_744_073_709_551_615n, seq: 9_007_199_254_740_993n };
    const { disk } = await fenceAt(huge, 'a');
    const reopened = await Fence.open(disk);
    assert.deepEqual(reopened.current?.token, huge);
    assert.throws(() => reopened.check({ ...huge, seq: 9_007_199_254_740_992n }, 'a'), stale);
  });

  test('keeps the last lineage until another one comes', async () => {
    const { disk, fence } = await fenceAt(token(1, 1, 1), 'a');
    await fence.raise(token(1, 2, 1), 'b', { term: 2n, nonce: 'two' });
    await fence.raise(token(1, 2, 2), 'c');
    assert.deepEqual((await Fence.open(disk)).current?.lineage, { term: 2n, nonce: 'two' });
    await fence.raise(token(1, 2, 2), 'c', { term: 2n, nonce: 'other' });
    assert.deepEqual((await Fence.open(disk)).current?.lineage, { term: 2n, nonce: 'other' });
  });

  test('says which tokens are of the current term', async () => {
    const { fence } = await fenceAt(token(2, 20, 200), 'a');
    assert.equal(fence.isOfCurrentTerm(token(2, 20, 1)), true);
    assert.equal(fence.isOfCurrentTerm(token(2, 21, 1)), false);
    assert.equal(fence.isOfCurrentTerm(token(1, 20, 200)), false);
  });
});

describe('on the disk before anything obeys it', () => {
  test('a write that fails leaves the old fence, in memory and on the disk', async () => {
    const { disk, fence } = await fenceAt(token(1, 5, 5), 'a');
    const before = disk.bytes;
    disk.gate = () => Promise.reject(new Error('no space left'));
    await assert.rejects(fence.raise(token(1, 6, 1), 'b'), /no space left/);
    assert.deepEqual(fence.current, { token: token(1, 5, 5), holder: 'a', lineage: undefined });
    assert.equal(disk.bytes, before);
    disk.gate = async () => undefined;
    await fence.raise(token(1, 5, 6), 'c');
    assert.equal((await Fence.open(disk)).current?.holder, 'c');
  });

  test('a first write that fails makes no fence', async () => {
    const disk = new MemoryFenceDisk();
    disk.gate = () => Promise.reject(new Error('no space left'));
    await assert.rejects(Fence.create(disk), /no space left/);
    assert.notEqual((await Fence.open(disk)).broken, undefined);
  });

  test('a token is not in force while it is being written', async () => {
    const { disk, fence } = await fenceAt(token(1, 5, 5), 'a');
    let release: () => void = () => undefined;
    disk.gate = () =>
      new Promise((resolve) => {
        release = resolve;
      });
    let raised = false;
    const raising = fence.raise(token(1, 6, 1), 'b').then(() => {
      raised = true;
    });
    assert.equal(fence.current?.holder, 'a');
    assert.equal(raised, false);
    release();
    await raising;
    assert.equal(fence.current?.holder, 'b');
  });
});

describe('raised until a restart', () => {
  test('refuses what is lower as long as the agent lives, and writes nothing', async () => {
    const { disk, fence } = await fenceAt(token(1, 5, 1), 'a');
    const bytes = disk.bytes;
    await fence.raiseUntilRestart(token(1, 5, 4), 'preflight');
    assert.equal(disk.bytes, bytes);
    assert.throws(() => fence.check(token(1, 5, 3), 'b'), stale);
    assert.throws(() => fence.check(token(1, 5, 4), 'b'), stale);
    await assert.rejects(fence.raiseUntilRestart(token(1, 5, 3), 'b'), stale);
  });

  test('the first token of a term is stored, so that an older term is refused after a restart', async () => {
    for (const first of [token(1, 6, 1), token(2, 1, 1)]) {
      const { disk, fence } = await fenceAt(token(1, 5, 9), 'a');
      await fence.raiseUntilRestart(first, 'preflight');
      const reopened = await Fence.open(disk);
      assert.deepEqual(reopened.current?.token, first);
      assert.throws(() => reopened.check(token(1, 5, 99), 'b'), stale);
    }
  });

  test('what is stored after it stands above it, and keeps the lineage', async () => {
    const { disk, fence } = await fenceAt(token(1, 5, 1), 'a');
    await fence.raise(token(1, 5, 2), 'adopted', { term: 5n, nonce: 'five' });
    await fence.raiseUntilRestart(token(1, 5, 3), 'roll-back');
    await fence.raise(token(1, 5, 3), 'roll-back');
    assert.deepEqual((await Fence.open(disk)).current, {
      ...{ token: token(1, 5, 3), holder: 'roll-back' },
      lineage: { term: 5n, nonce: 'five' },
    });
  });

  test('a token of the journal is in force again after a restart, and a lower one changes nothing', async () => {
    const { disk } = await fenceAt(token(1, 5, 5), 'a');
    const fence = await Fence.open(disk);
    for (const seq of ['3', '10', '9']) fence.recall({ epoch: '1', term: '5', seq }, `upgrade-${seq}`);
    assert.equal(fence.current?.holder, 'upgrade-10');
    fence.check(token(1, 5, 10), 'upgrade-10');
    assert.throws(() => fence.check(token(1, 5, 10), 'b'), stale);
    assert.throws(() => fence.check(token(1, 5, 6), 'b'), stale);
  });

  test('no token of a journal mends a fence that cannot be read', async () => {
    const fence = await Fence.open(new MemoryFenceDisk());
    fence.recall({ epoch: '1', term: '5', seq: '3' }, 'upgrade');
    assert.equal(fence.current, undefined);
    await assert.rejects(fence.raiseUntilRestart(token(9, 9, 9), 'b'), { code: 'FENCE_UNREADABLE' });
  });
});

describe('made anew by an operator', () => {
  const known = token(1, 5, 5);
  const unadopted = {
    code: 'FENCE_UNREADABLE',
    message: /made anew by an operator; the node obeys no command/,
  };

  test('lets no command through, before and after a restart, until somebody adopts the node', async () => {
    const disk = new MemoryFenceDisk();
    await Fence.renew(disk, { token: known, lineage: undefined });
    const fence = await Fence.open(disk);
    assert.throws(() => fence.checkAdopted(), unadopted);
    assert.throws(() => fence.check(token(1, 5, 4), 'old'), stale, 'and what is known is not forgotten');

    await fence.raise(token(1, 5, 6), 'adoption');
    fence.checkAdopted();
    const reopened = await Fence.open(disk);
    reopened.checkAdopted();
    assert.deepEqual(reopened.current, { token: token(1, 5, 6), holder: 'adoption', lineage: undefined });
  });

  test('is put in order also by an adoption with the very token that was known', async () => {
    const disk = new MemoryFenceDisk();
    await Fence.renew(disk, { token: known, lineage: undefined });
    const fence = await Fence.open(disk);
    await fence.raise(known, 'restore');
    (await Fence.open(disk)).checkAdopted();
  });
});

describe('without a fence that can be read, nobody gets through', () => {
  const good = { schema: 1, token: { epoch: '1', term: '2', seq: '3' }, holder: 'a', lineage: null };
  const files: [string, string | Uint8Array | undefined][] = [
    ['missing', undefined],
    ['empty', ''],
    ['torn', JSON.stringify(good).slice(0, 30)],
    ['zero-filled', Buffer.alloc(100)],
    ['no JSON', 'fence'],
    ['another JSON', '[]'],
    ['of another schema', JSON.stringify({ ...good, schema: 2 })],
    ['with a negative seq', JSON.stringify({ ...good, token: { ...good.token, seq: '-1' } })],
    ['with a letter in a term', JSON.stringify({ ...good, token: { ...good.token, term: '2x' } })],
    ['with a number for a term', JSON.stringify({ ...good, token: { ...good.token, term: 2 } })],
    [
      'with a term of more than 64 bits',
      JSON.stringify({ ...good, token: { ...good.token, term: '9'.repeat(20) } }),
    ],
    ['without its holder', JSON.stringify({ ...good, holder: undefined })],
    ['without its lineage', JSON.stringify({ ...good, lineage: undefined })],
  ];
  for (const [what, content] of files) {
    test(`a file that is ${what}`, async () => {
      const bytes = typeof content === 'string' ? Buffer.from(content) : content;
      const disk = new MemoryFenceDisk(bytes);
      const fence = await Fence.open(disk);
      const all = { epoch: 2n ** 64n - 1n, term: 2n ** 64n - 1n, seq: 2n ** 64n - 1n };
      assert.match(fence.broken ?? '', bytes === undefined ? /is missing/ : /cannot be read/);
      assert.equal(fence.current, undefined);
      // An adoption is refused as a command is, so nobody is told to wait for one.
      const unreadable = {
        code: 'FENCE_UNREADABLE',
        message: `${fence.broken}; the node obeys no command until an operator says plexi-node-agent restore --as-it-is on it`,
      };
      assert.throws(() => fence.check(all, 'a'), unreadable);
      assert.throws(() => fence.checkAdopted(), unreadable);
      await assert.rejects(fence.raise(all, 'a'), unreadable);
      assert.equal(fence.isOfCurrentTerm(all), false);
      assert.equal(disk.bytes, bytes, 'what is there is left for the operator');
    });
  }
});

test('a fence that the system does not let us read lets nobody through, and says why', async () => {
  const thrown = new Error('EIO: i/o error, read');
  const fence = await Fence.open({ read: () => Promise.reject(thrown), write: () => Promise.reject(thrown) });
  assert.equal(fence.broken, 'agent/fence.json cannot be read (Error: EIO: i/o error, read)');
  assert.equal(fence.isNew, false);
  assert.equal(fence.current, undefined);
  assert.throws(() => fence.check(token(9, 9, 9), 'a'), { code: 'FENCE_UNREADABLE' });
  assert.throws(() => fence.checkAdopted(), { code: 'FENCE_UNREADABLE' });
});

test("a fence is a new node's until it was raised, and none that cannot be read or was made anew", async () => {
  const disk = new MemoryFenceDisk();
  assert.equal((await Fence.open(disk)).isNew, true);
  assert.equal((await Fence.create(disk)).isNew, true);
  const first = await Fence.open(disk);
  assert.equal(first.isNew, true);
  first.checkAdopted();
  await first.raise(token(0, 0, 1), 'a');
  for (const fence of [first, await Fence.open(disk)]) assert.equal(fence.isNew, false);
  await Fence.renew(disk, openFence);
  const renewed = await Fence.open(disk);
  assert.equal(renewed.isNew, false, 'what was seen before is not wholly known');
  assert.throws(() => renewed.checkAdopted(), { code: 'FENCE_UNREADABLE', message: /made anew/ });
  assert.equal((await Fence.open(new MemoryFenceDisk(Buffer.from('{')))).isNew, false);
});

test('tokens are ordered like their parts, one after the other', () => {
  const part = fc.bigInt({ min: 0n, max: 3n });
  const tokens = fc.record({ epoch: part, term: part, seq: part });
  fc.assert(
    fc.property(tokens, tokens, (a, b) => {
      const rank = ({ epoch, term, seq }: FenceToken) => 16n * epoch + 4n * term + seq;
      const difference = rank(a) - rank(b);
      assert.equal(Math.sign(compareTokens(a, b)), difference < 0n ? -1 : difference > 0n ? 1 : 0);
    }),
  );
});
