/**
 * Versions: what a release is called and which of two is newer. A cluster has one scheme, named in
 * its configuration; versions of two schemes are never compared, except that the plexi scheme reads
 * what was there before it (dotted and semver-like names) and puts the latter below every native
 * version. Invariant: `parse(v.canonical)` gives `v` again, and identity is equality of `canonical`.
 * This file and the two it imports are pure, because the controller's decisions import them.
 */
import { plexiScheme } from './plexi-version.js';
import { semverScheme } from './semver-version.js';
import type { VersionScheme, VersionSchemeName } from './version-scheme.js';

export type {
  LegacyVersion,
  PlexiType,
  PlexiVersion,
  SemverVersion,
  Version,
  VersionScheme,
  VersionSchemeName,
} from './version-scheme.js';

/** The word for "nothing is installed"; below every version, and itself no version. */
export const NONE = 'none';

/** The scheme of that name. */
export function versionScheme(name: VersionSchemeName): VersionScheme {
  switch (name) {
    case 'plexi':
      return plexiScheme;
    case 'semver':
      return semverScheme;
  }
}
