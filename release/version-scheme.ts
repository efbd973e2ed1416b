/**
 * The shapes of versions and of their schemes. The scheme of a version is part of its type, so that
 * two schemes are never mixed by accident. Types only: nothing here runs.
 */
/** The schemes that a configuration may name. */
export type VersionSchemeName = 'plexi' | 'semver';

/** The type letters of the plexi scheme, from the lowest to the highest. */
export type PlexiType = 'a' | 'b' | 'c' | 'r';

/** The parts of a semantic version; numbers stay texts, since semver does not bound them. */
export interface SemverFields {
  readonly core: readonly [major: string, minor: string, patch: string];
  /** Dot-separated prerelease identifiers; empty for a release. */
  readonly prerelease: readonly string[];
  readonly metadata: string | undefined;
}

interface VersionBase {
  /** What is printed, stored and compared for identity. */
  readonly canonical: string;
  /** Whether `--stable` may choose it: type r, or semver without a prerelease. */
  readonly stable: boolean;
}

/** A version of the plexi scheme, `{major}{type}{minor}` with an optional `+build`. */
export interface PlexiVersion extends VersionBase {
  readonly scheme: 'plexi';
  readonly major: number;
  readonly type: PlexiType;
  readonly minor: number;
  readonly build: string | undefined;
}

/** A version of the semver scheme. */
export interface SemverVersion extends VersionBase, SemverFields {
  readonly scheme: 'semver';
}

/** A semver-like version from before the plexi scheme, as the plexi scheme reads it. */
export interface LegacyVersion extends VersionBase, SemverFields {
  readonly scheme: 'legacy';
}

/** A parsed version. */
export type Version = PlexiVersion | SemverVersion | LegacyVersion;

/** How one scheme reads and orders its versions. */
export interface VersionScheme {
  readonly name: VersionSchemeName;
  /** Reads a version; anything else is a PlexiError VERSION_INVALID with the reason. */
  parse(text: string): Version;
  /** Below zero when `a` is older than `b`, above zero when it is newer, zero when neither. */
  compare(a: Version, b: Version): number;
  /** Why an upgrade may not go from one to the other in one step, in one sentence; undefined: it may. */
  pathProblem(from: Version, to: Version): string | undefined;
}
