/**
 * The plexi scheme: `{major}{type}{minor}` with an optional `+build`, types a < b < c < r. The order
 * is major, minor, type, then build, so that 0a1 < 0b1 < 0r1 < 0a2. Two older spellings are read:
 * dotted `a.1.1-1`, which is 1a1+1, and semver-like `3.0.0`, which lies below every native version.
 * Invariant: the order is total, zero only between equal `canonical` texts. A minor of 0 exists in
 * the dotted form alone, so such a version keeps that spelling as its canonical one.
 */
import { PlexiError } from '../config/errors.js';
import { compareSemver, readSemver } from './semver-version.js';
import type { LegacyVersion, PlexiType, PlexiVersion, Version, VersionScheme } from './version-scheme.js';
import {
  assertVersionText,
  compareIdentifiers,
  compareText,
  isDigits,
  versionRefused,
} from './version-text.js';

const write = 'write {major}{type}{minor} with a type of a, b, c or r, for instance 0b1 or 1r2+7';
const number = '0|[1-9][0-9]{0,8}';
const nativePattern = new RegExp(`^(${number})([abcr])(${number})(?:\\+(.*))?$`);
const dottedPattern = new RegExp(`^([abcr])\\.(${number})\\.(${number})-(${number})$`);
const typeRank: Readonly<Record<PlexiType, number>> = { a: 0, b: 1, c: 2, r: 3 };

/** The plexi scheme; choose it through `versionScheme('plexi')`. */
export const plexiScheme: VersionScheme = {
  name: 'plexi',
  parse: parsePlexi,
  compare: comparePlexi,
  pathProblem: plexiPathProblem,
};

function parsePlexi(text: string): Version {
  assertVersionText(text, write);
  const version = parseNative(text) ?? parseDotted(text) ?? parseLegacy(text);
  if (version !== undefined) return version;
  throw versionRefused(text, whyNot(text), write);
}

function parseNative(text: string): PlexiVersion | undefined {
  const match = nativePattern.exec(text);
  if (match === null) return undefined;
  const [, major = '', type = '', minor = '', build] = match;
  if (minor === '0') throw versionRefused(text, 'its minor number is 0, and numbering starts at 1', write);
  if (build !== undefined) assertBuild(text, build);
  return native(Number(major), asType(type), Number(minor), build);
}

function parseDotted(text: string): PlexiVersion | undefined {
  const match = dottedPattern.exec(text);
  if (match === null) return undefined;
  const [, type = '', major = '', minor = '', build = ''] = match;
  if (major === '0' && minor === '0') throw versionRefused(text, 'major and minor are both 0', write);
  if (build === '0') throw versionRefused(text, 'its build is 0, and builds start at 1', write);
  return native(Number(major), asType(type), Number(minor), build);
}

function parseLegacy(text: string): LegacyVersion | undefined {
  const fields = readSemver(text);
  return fields === undefined ? undefined : { scheme: 'legacy', canonical: text, stable: false, ...fields };
}

function assertBuild(text: string, build: string): void {
  if (!/^[0-9A-Za-z]+(?:[.-][0-9A-Za-z]+)*$/.test(build)) {
    throw versionRefused(
      text,
      'its build is not made of letters, digits and single "." or "-" between',
      write,
    );
  }
  if (isDigits(build) && build.length > 1 && build.startsWith('0')) {
    throw versionRefused(text, 'its build has a leading zero', write);
  }
}

function native(major: number, type: PlexiType, minor: number, build: string | undefined): PlexiVersion {
  const short = `${major}${type}${minor}${build === undefined ? '' : `+${build}`}`;
  const canonical = minor === 0 ? `${type}.${major}.${minor}-${build}` : short;
  return { scheme: 'plexi', canonical, stable: type === 'r', major, type, minor, build };
}

function asType(letter: string): PlexiType {
  if (letter === 'a' || letter === 'b' || letter === 'c' || letter === 'r') return letter;
  throw new PlexiError('INTERNAL', `The letter "${letter}" passed the pattern of versions.`);
}

/** The most helpful reason for a text that is none of the three spellings. */
function whyNot(text: string): string {
  if (/[A-Z]/.test(text)) return 'capital letters are not used';
  if (/^[0-9]+$/.test(text)) return 'it is a bare number without a type';
  if (/(?:^|[a-z.-])0[0-9]/.test(text)) return 'one of its numbers has a leading zero';
  if (/[0-9]{10}/.test(text)) return 'one of its numbers has more than 9 digits';
  return 'it does not have the form of one';
}

function comparePlexi(a: Version, b: Version): number {
  if (a.scheme === 'semver' || b.scheme === 'semver') {
    throw new PlexiError(
      'INTERNAL',
      `${a.canonical} and ${b.canonical} are of two schemes and have no order; parse both with one scheme.`,
    );
  }
  if (a.scheme === 'plexi') return b.scheme === 'plexi' ? compareNative(a, b) : 1;
  if (b.scheme === 'plexi') return -1;
  return compareSemver(a, b) || compareText(a.canonical, b.canonical);
}

/** Majors are not jumped over: what a major release changes is prepared by the last one before it. */
function plexiPathProblem(from: Version, to: Version): string | undefined {
  if (from.scheme !== 'plexi' || to.scheme !== 'plexi' || to.major <= from.major + 1) return undefined;
  const hops = Array.from({ length: to.major - from.major - 1 }, (_, at) => from.major + at + 1);
  return `${from.canonical} to ${to.canonical} jumps over ${hops.length === 1 ? 'major' : 'majors'} ${hops.join(', ')}; go to a release of ${hops.join(', then of ')} first`;
}

function compareNative(a: PlexiVersion, b: PlexiVersion): number {
  return (
    a.major - b.major ||
    a.minor - b.minor ||
    typeRank[a.type] - typeRank[b.type] ||
    compareBuilds(a.build, b.build)
  );
}

function compareBuilds(a: string | undefined, b: string | undefined): number {
  if (a === undefined || b === undefined) return Number(a !== undefined) - Number(b !== undefined);
  return compareIdentifiers(a, b);
}
