/** A node that knows more than etcd: every way in which it can, and the ways in which it does not. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { seqAt, strangeHistory } from './history-check.js';

const lead = {
  epoch: 2n,
  term: 50n,
  nonce: 'ours',
  lineage: [
    { term: '30', nonce: 'oldest' },
    { term: '40', nonce: 'before', audit: 12 },
    { term: '50', nonce: 'ours', audit: 20 },
  ],
};

/** A node that an earlier leader gave a token when the audit had come to that record. */
function toldAt(term: bigint, nonce: string, seq: bigint): string | undefined {
  return strangeHistory('node-1', { fence: { epoch: 2n, term, seq }, lineage: { term, nonce } }, lead);
}

function told(epoch: bigint, term: bigint, lineage?: { term: bigint; nonce: string }): string | undefined {
  return strangeHistory('node-1', { fence: { epoch, term, seq: 1n }, lineage }, lead);
}

describe('nothing is strange', () => {
  const cases: [what: string, reason: string | undefined][] = [
    [
      'about a node whose fence cannot be read',
      strangeHistory('node-1', { fence: undefined, lineage: undefined }, lead),
    ],
    ['about a new node', told(0n, 0n)],
    ['about an older epoch, whatever its terms', told(1n, 900n, { term: 900n, nonce: 'elsewhere' })],
    ['about a term of the lineage', told(2n, 40n, { term: 40n, nonce: 'before' })],
    ['about this term', told(2n, 50n, { term: 50n, nonce: 'ours' })],
    ['about a term that the lineage does not reach back to', told(2n, 20n, { term: 20n, nonce: 'long ago' })],
    ['about the last record of an earlier term', toldAt(40n, 'before', seqAt(19, 999_999_999n))],
    ['about any record of this term', toldAt(50n, 'ours', seqAt(1_000, 1n))],
    ['about a token of a controller that counted commands alone', toldAt(40n, 'before', 900n)],
    ['about a record behind a term whose end is not known', toldAt(20n, 'long ago', seqAt(900, 1n))],
  ];
  for (const [what, reason] of cases) test(what, () => assert.equal(reason, undefined));
});

describe('etcd was restored', () => {
  const cases: [what: string, reason: string | undefined, fact: RegExp][] = [
    ['by a higher epoch', told(3n, 1n), /node-1 knows epoch 3, and etcd 2/],
    ['by a higher term', told(2n, 51n), /node-1 knows term 51, and etcd has only come to 50/],
    [
      'by a term that etcd gave to nobody',
      told(2n, 45n, { term: 45n, nonce: 'x' }),
      /a term 45 that etcd does not/,
    ],
    [
      'by a record of an earlier term that etcd gave to the next',
      toldAt(40n, 'before', seqAt(20, 1n)),
      /node-1 knows record 20 of the audit from term 40, and etcd does not/,
    ],
    [
      'by the same term of another history',
      told(2n, 50n, { term: 50n, nonce: 'x' }),
      /a term 50 that etcd does not/,
    ],
  ];
  for (const [what, reason, fact] of cases)
    test(what, () => {
      assert.match(reason ?? '', fact);
      assert.match(reason ?? '', /restored from a snapshot.*`plexictl cluster re-epoch`/);
    });
});

test('a token rises with each command, and with each record', () => {
  const risen = [seqAt(0, 1n), seqAt(0, 2n), seqAt(7, 2n), seqAt(7, 3n), seqAt(8, 3n)];
  assert.deepEqual(
    risen.toSorted((a, b) => (a < b ? -1 : 1)),
    risen,
  );
  assert.equal(new Set(risen).size, risen.length);
});
