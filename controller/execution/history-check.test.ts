/** A node that knows more than etcd: every way in which it can, and the ways in which it does not. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { strangeHistory } from './history-check.js';

const lead = {
  epoch: 2n,
  term: 50n,
  nonce: 'ours',
  lineage: [
    { term: '30', nonce: 'oldest' },
    { term: '40', nonce: 'before' },
    { term: '50', nonce: 'ours' },
  ],
};

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
