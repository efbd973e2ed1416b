/** Durations: what is read, what is refused, and that what is written fits its column. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { PlexiError } from '../config/errors.js';
import { formatDuration, formatElapsed, parseDurationMs } from './duration.js';

describe('parseDurationMs', () => {
  const good: readonly (readonly [string, number])[] = [
    ['500ms', 500],
    ['2s', 2_000],
    ['1.5m', 90_000],
    ['1h30m', 5_400_000],
    ['2d', 172_800_000],
    ['0s', 0],
  ];
  for (const [text, ms] of good) {
    test(`reads ${text}`, () => assert.equal(parseDurationMs(text, '--soak'), ms));
  }
  for (const text of ['', '2', 's', '-2s', '2 s', '2s ', '2x', '1e3s', '99999999999999999999d', 's2']) {
    test(`refuses "${text}"`, () => {
      const isUsage = (error: unknown) =>
        error instanceof PlexiError && error.code === 'USAGE' && /--soak/.test(error.message);
      assert.throws(() => parseDurationMs(text, '--soak'), isUsage);
    });
  }
});

describe('formatDuration', () => {
  const cases: readonly (readonly [number, string])[] = [
    [0, '0ms'],
    [-5, '0ms'],
    [850, '850ms'],
    [9_400, '9.4s'],
    [9_999, '10s'],
    [59_600, '1m 00s'],
    [65_000, '1m 05s'],
    [3_599_600, '1h 00m'],
    [7_380_000, '2h 03m'],
    [100 * 3_600_000, '4d 4h'],
    [400 * 86_400_000, '400d'],
  ];
  for (const [ms, text] of cases) test(`${ms} ms is ${text}`, () => assert.equal(formatDuration(ms), text));

  test('never takes more than seven characters', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 9_999 * 86_400_000 }),
        (ms) => formatDuration(ms).length <= 7 && formatElapsed(ms).length <= 7,
      ),
    );
  });
  test('a ticking clock shows whole seconds', () => assert.equal(formatElapsed(1_999), '1s'));
});
