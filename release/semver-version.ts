/**
 * The semver scheme: Semantic Versioning 2.0.0, read without a leading "v". Precedence follows its
 * section 11: major, minor, patch, then prerelease identifiers; a version without a prerelease is
 * above those with one. Build metadata is kept in `canonical` (it is part of the identity) and takes
 * no part in the order.
 */
import { PlexiError } from '../config/errors.js';
import type { SemverFields, SemverVersion, Version, VersionScheme } from './version-scheme.js';
import { assertVersionText, compareDigits, compareIdentifiers, versionRefused } from './version-text.js';

const write = 'write MAJOR.MINOR.PATCH as in semver 2.0.0, for instance 1.4.0 or 2.0.0-rc.1';
const number = '0|[1-9][0-9]*';
const prereleaseIdentifier = '(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)';
const pattern = new RegExp(
  `^(${number})\\.(${number})\\.(${number})` +
    `(?:-(${prereleaseIdentifier}(?:\\.${prereleaseIdentifier})*))?` +
    '(?:\\+([0-9A-Za-z-]+(?:\\.[0-9A-Za-z-]+)*))?$',
);

/** The semver scheme; choose it through `versionScheme('semver')`. */
export const semverScheme: VersionScheme = {
  name: 'semver',
  parse: parseSemver,
  compare: compareVersions,
  // Semantic versions promise nothing about steps between majors.
  pathProblem: () => undefined,
};

function parseSemver(text: string): SemverVersion {
  assertVersionText(text, write);
  const fields = readSemver(text);
  if (fields === undefined) throw versionRefused(text, 'it does not have the form of one', write);
  return { scheme: 'semver', canonical: text, stable: fields.prerelease.length === 0, ...fields };
}

/** The parts of a semantic version, or undefined when the text is none. */
export function readSemver(text: string): SemverFields | undefined {
  const match = pattern.exec(text);
  if (match === null) return undefined;
  const [, major = '', minor = '', patch = '', prerelease, metadata] = match;
  return { core: [major, minor, patch], prerelease: prerelease?.split('.') ?? [], metadata };
}

function compareVersions(a: Version, b: Version): number {
  if (a.scheme !== 'semver' || b.scheme !== 'semver') {
    throw new PlexiError(
      'INTERNAL',
      `${a.canonical} and ${b.canonical} are not both semantic versions; parse both with one scheme.`,
    );
  }
  return compareSemver(a, b);
}

/** Precedence of two semantic versions (section 11); build metadata is ignored. */
export function compareSemver(a: SemverFields, b: SemverFields): number {
  return (
    compareDigits(a.core[0], b.core[0]) ||
    compareDigits(a.core[1], b.core[1]) ||
    compareDigits(a.core[2], b.core[2]) ||
    comparePrereleases(a.prerelease, b.prerelease)
  );
}

function comparePrereleases(a: readonly string[], b: readonly string[]): number {
  if (a.length === 0 || b.length === 0) return Number(a.length === 0) - Number(b.length === 0);
  for (const [index, identifier] of a.entries()) {
    const other = b[index];
    if (other === undefined) return 1;
    const order = compareIdentifiers(identifier, other);
    if (order !== 0) return order;
  }
  return a.length - b.length;
}
