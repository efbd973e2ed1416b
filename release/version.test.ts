/**
 * The vectors of both version schemes, those to refuse included, and their laws for any version:
 * the order is total, and what is printed reads back as itself.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { PlexiError } from '../config/errors.js';
import { NONE, type Version, type VersionScheme, versionScheme } from './version.js';

const plexi = versionScheme('plexi');
const semver = versionScheme('semver');

function assertRising(scheme: VersionScheme, texts: readonly string[]): void {
  for (const [i, low] of texts.entries()) {
    for (const [j, high] of texts.entries()) {
      const order = Math.sign(scheme.compare(scheme.parse(low), scheme.parse(high)));
      assert.equal(order, Math.sign(i - j), `${low} against ${high}`);
    }
  }
}

function assertRefused(scheme: VersionScheme, text: string): void {
  assert.throws(
    () => scheme.parse(text),
    (thrown) => {
      assert.ok(thrown instanceof PlexiError, String(thrown));
      assert.equal(thrown.code, 'VERSION_INVALID');
      assert.equal(thrown.exitCode, 2);
      assert.match(thrown.message, /^".*" is not a version: .+; write .+\.$/);
      assert.ok(thrown.message.length < 300);
      return true;
    },
    JSON.stringify(text),
  );
}

describe('plexi versions', () => {
  test('follow the lifecycle', () => {
    assertRising(plexi, ['0a1', '0b1', '0r1', '0a2', '0b2', '0r2', '1a1', '1b1', '1r1']);
  });

  test('order numbers by value, candidates between beta and release, and builds last', () => {
    assertRising(plexi, ['0a9', '0a10']);
    assertRising(plexi, ['9r1', '10a1']);
    assertRising(plexi, ['0a1', '0b1', '0c1', '0r1']);
    assertRising(plexi, [
      '1a1',
      '1a1+1',
      '1a1+2',
      '1a1+10',
      '1a1+99999999999999999999',
      '1a1+abc',
      '1a1+b',
      '1b1',
    ]);
  });

  test('read the dotted legacy form as the native version', () => {
    assert.equal(plexi.parse('a.1.1-1').canonical, '1a1+1');
    assert.equal(plexi.parse('b.1.1-93').canonical, '1b1+93');
    assert.equal(plexi.parse('a.0.1-1').canonical, '0a1+1');
    assert.equal(plexi.parse('c.2.3-4').canonical, '2c3+4');
    assert.equal(plexi.compare(plexi.parse('a.1.1-2'), plexi.parse('1a1+2')), 0);
  });

  test('allow a minor of 0 in the dotted form only, below the first native minor', () => {
    const version = plexi.parse('a.1.0-1');
    assert.equal(version.scheme, 'plexi');
    assert.equal(version.canonical, 'a.1.0-1');
    assertRising(plexi, ['0r9', 'a.1.0-1', 'a.1.0-2', 'b.1.0-1', '1a1']);
    for (const text of ['1a0', '1a0+1', '0a0']) assertRefused(plexi, text);
  });

  test('put semver-like versions from before the scheme below every native version', () => {
    assertRising(plexi, ['1.9.0', '2.0.0-rc.1', '2.0.0', '3.0.0', '3.0.1', '0a1']);
    assert.equal(plexi.parse('3.0.0').scheme, 'legacy');
    assert.equal(plexi.parse('3.0.0').stable, false);
  });

  test('are stable with type r only', () => {
    const stable = ['0a1', '0b1', '0c1', '0r1', '0r1+5', 'r.1.1-1'].filter(
      (text) => plexi.parse(text).stable,
    );
    assert.deepEqual(stable, ['0r1', '0r1+5', 'r.1.1-1']);
  });

  const refused = [
    ...[
      '',
      ' ',
      '0',
      '1',
      '0x1',
      '0a',
      'a1',
      '0a0',
      '00a1',
      '0a01',
      '01a1',
      '0d1',
      '-1a1',
      '0a-1',
      '0a1.5',
      '0A1',
      '0B1',
    ],
    ...[
      '0a1\n',
      '\n0a1',
      '0a1\r',
      '0a1\r\n',
      '0a\n1',
      '0a1\0',
      '0a\u00001',
      ' 0a1',
      '0a1 ',
      '0a1\t',
      '0a1\u2028',
      '0\u00e11',
    ],
    ...[
      'main',
      'master',
      'latest',
      'HEAD',
      'refs/heads/main',
      'release-1',
      'none',
      '0a1/../..',
      '..',
      '.',
      '../0a1',
    ],
    ...[
      '0a1+',
      '0a1+01',
      '0a1+00',
      '0a1+a b',
      '0a1+a+b',
      '0a1+.',
      '0a1+a..b',
      '0a1+-',
      '0a1+a/b',
      '0a1-1',
      '+1',
      'a',
    ],
    ...[
      'a.1.1',
      'a.1.1.35',
      'a.1.1-',
      'a.1.1-0',
      'a.1.0-0',
      'a.1.1-01',
      'a.01.1-1',
      'a.0.0-1',
      'd.1.1-1',
      'A.1.1-1',
      'a.1-1',
    ],
    ...[
      'v1.0.0',
      'v1.1.1-5',
      '3.0',
      '3',
      '3.0.0.0',
      '03.0.0',
      '3.0.0-',
      '3.0.0-01',
      '3.0.0+',
      '1e3',
      '0x0a1',
      'Infinity',
      'NaN',
    ],
    ...[
      '1000000000a1',
      '0a1000000000',
      '9'.repeat(300),
      `0a1+${'x'.repeat(61)}`,
      'a'.repeat(100_000),
      '__proto__',
    ],
  ];
  test(`refuse ${refused.length} texts that are none`, () => {
    for (const text of refused) assertRefused(plexi, text);
    assert.equal(plexi.parse(`0a1+${'x'.repeat(60)}`).canonical.length, 64);
  });

  test('have no order with versions of the other scheme', () => {
    assert.throws(() => plexi.compare(plexi.parse('0a1'), semver.parse('1.0.0')), /two schemes/);
    assert.throws(() => semver.compare(plexi.parse('0a1'), semver.parse('1.0.0')), /not both semantic/);
    assertRefused(plexi, NONE);
    assertRefused(semver, NONE);
  });
});

describe('semantic versions', () => {
  test('follow the precedence of semver 2.0.0', () => {
    assertRising(semver, [
      ...['1.0.0-0', '1.0.0-2', '1.0.0-10', '1.0.0-alpha', '1.0.0-alpha.1', '1.0.0-alpha.beta', '1.0.0-beta'],
      ...['1.0.0-beta.2', '1.0.0-beta.11', '1.0.0-rc.1', '1.0.0', '1.0.1', '1.2.0', '1.10.0', '2.0.0'],
      '99999999999999999999999.0.0',
    ]);
  });

  test('keep build metadata in the identity and out of the order', () => {
    const [one, two] = [semver.parse('1.0.0+1'), semver.parse('1.0.0+2')];
    assert.notEqual(one.canonical, two.canonical);
    assert.equal(semver.compare(one, two), 0);
  });

  test('are stable without a prerelease', () => {
    assert.equal(semver.parse('1.0.0+build.5').stable, true);
    assert.equal(semver.parse('1.0.0-rc.1').stable, false);
  });

  test('refuse everything else', () => {
    const refused = [
      '',
      '1',
      '1.0',
      'v1.0.0',
      '1.0.0.0',
      '01.0.0',
      '1.00.0',
      '1.0.0-',
      '1.0.0-01',
      '1.0.0-a..b',
      '1.0.0+',
    ];
    const others = [
      '1.0.0\n',
      '1.0.0\0',
      '0b1',
      'a.1.1-1',
      'main',
      ' 1.0.0',
      '-1.0.0',
      '1.0.0-é',
      `1.0.0-${'a'.repeat(60)}`,
    ];
    for (const text of [...refused, ...others]) assertRefused(semver, text);
  });
});

const digits = fc.oneof(fc.nat({ max: 12 }), fc.nat({ max: 999_999_999 }));
const identifier = fc.stringMatching(/^(?:[1-9][0-9]{0,6}|0|[a-z][a-z0-9]{0,4})$/);
const letter = fc.constantFrom('a', 'b', 'c', 'r');
const nativeText = fc
  .tuple(digits, letter, digits, fc.option(identifier))
  .map(
    ([major, type, minor, build]) =>
      `${major}${type}${minor + 1 > 999_999_999 ? minor : minor + 1}${build === null ? '' : `+${build}`}`,
  );
const dottedText = fc
  .tuple(letter, digits, digits, fc.integer({ min: 1, max: 99 }))
  .map(
    ([type, major, minor, build]) => `${type}.${major + 1 > 999_999_999 ? 1 : major + 1}.${minor}-${build}`,
  );
const semverText = fc
  .tuple(digits, digits, digits, fc.array(identifier, { maxLength: 3 }), fc.option(identifier))
  .map(
    ([a, b, c, pre, meta]) =>
      `${a}.${b}.${c}${pre.length > 0 ? `-${pre.join('.')}` : ''}${meta === null ? '' : `+${meta}`}`,
  );

function laws(scheme: VersionScheme, text: fc.Arbitrary<string>, equalMeansSame: boolean): void {
  const version = text.map((it): Version => scheme.parse(it));
  fc.assert(fc.property(version, (v) => assert.deepEqual(scheme.parse(v.canonical), v)));
  fc.assert(
    fc.property(version, version, version, (a, b, c) => {
      const order = Math.sign(scheme.compare(a, b));
      assert.ok(Number.isFinite(order));
      assert.equal(Math.sign(scheme.compare(b, a)), order === 0 ? 0 : -order);
      assert.equal(scheme.compare(a, a), 0);
      if (equalMeansSame) assert.equal(order === 0, a.canonical === b.canonical);
      const sorted = [a, b, c].sort(scheme.compare);
      const [low, , high] = sorted;
      if (low !== undefined && high !== undefined) assert.ok(scheme.compare(low, high) <= 0);
    }),
  );
}

describe('laws for any version', () => {
  test('plexi: a total order, and printing reads back', () => {
    laws(plexi, fc.oneof(nativeText, dottedText, semverText), true);
  });
  test('semver: an order, and printing reads back', () => {
    laws(semver, semverText, false);
  });
  test('any text at all is a version or a VERSION_INVALID', () => {
    const noise = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 80 }),
      fc.stringMatching(/^[0-9abcrx.+\-\n]{0,12}$/),
    );
    fc.assert(
      fc.property(noise, fc.constantFrom(plexi, semver), (text, scheme) => {
        try {
          const version = scheme.parse(text);
          assert.equal(scheme.parse(version.canonical).canonical, version.canonical);
        } catch (thrown) {
          assert.ok(thrown instanceof PlexiError && thrown.code === 'VERSION_INVALID', String(thrown));
        }
      }),
      { numRuns: 2_000 },
    );
  });
});
