/**
 * The one place that decides whether a manifest may be trusted; everything else of a release is
 * trusted because the manifest names its SHA-256. Today the manifest is held against the digest that
 * the plan pins. SIGNATURES BELONG HERE: a check added in this function holds for every way in,
 * because nothing else turns the bytes of a repository into a manifest (guarantee 8).
 */
import { createHash } from 'node:crypto';
import { PlexiError } from '../../config/errors.js';
import { parseManifest } from '../manifest.js';
import type { ReleaseManifest } from '../manifest-shape.js';

/**
 * The manifest in these bytes. RELEASE_DIGEST_MISMATCH when they are not the pinned ones (undefined:
 * nothing is pinned yet), RELEASE_INVALID when they are no manifest.
 */
export function verifyManifest(bytes: Uint8Array, expectedSha256: string | undefined): ReleaseManifest {
  const found = manifestSha256(bytes);
  if (expectedSha256 !== undefined && found !== expectedSha256) {
    throw new PlexiError(
      'RELEASE_DIGEST_MISMATCH',
      `The manifest in the release repository has SHA-256 ${found}, but ${expectedSha256} was planned; ` +
        'find out who changed it, then make a new plan.',
      { details: { expected: expectedSha256, found } },
    );
  }
  return parseManifest(bytes);
}

/** SHA-256 (hex) of a manifest's bytes, by which plans pin it. */
export function manifestSha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
