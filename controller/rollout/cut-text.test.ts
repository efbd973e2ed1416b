/** What is left of a text that is too long: whole characters, and no more bytes than three for each. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { cutText } from './cut-text.js';

test('a text is cut between two characters, and what fits stays as it is', () => {
  assert.equal(cutText('short', 5), 'short');
  assert.equal(cutText('short', 4), 'shor');
  assert.equal(cutText('ab\u{1f600}', 3), 'ab');
  assert.equal(cutText('ab\u{1f600}', 4), 'ab\u{1f600}');
  assert.equal(cutText('line\nline', 9), 'line\nlin');
  assert.equal(cutText('', 0), '');
});

test('any text comes out whole, no longer than asked for, and no larger than three bytes a character', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), fc.nat(40), (text, chars) => {
      const cut = cutText(text, chars);
      assert.ok(cut.length <= chars);
      assert.ok(Buffer.byteLength(JSON.stringify(cut)) <= 3 * chars + 2);
      assert.doesNotThrow(() => encodeURIComponent(cut));
      assert.ok(text.startsWith(cut));
    }),
  );
  assert.equal(cutText('a\ud83d', 5), 'a\ufffd', 'half a character that was there before is none any more');
});
