/**
 * What any release repository can do, whether it is a folder or a server. Readers know only this, so
 * a new kind of repository needs no change elsewhere. Nothing that comes out of a repository is
 * trusted for where it came from: see verify.ts.
 */
import type { Readable } from 'node:stream';
import type { ReleaseArtifact, ReleaseManifest } from '../manifest-shape.js';
import type { IndexEntry } from './layout.js';

/** A manifest with its bytes, by whose SHA-256 plans pin it. */
export interface FetchedManifest {
  bytes: Buffer;
  sha256: string;
  manifest: ReleaseManifest;
}

/** A place with releases. Every method fails with a PlexiError. */
export interface ReleaseRepository {
  /** The folder or URL, as errors name it. */
  readonly location: string;
  /** All published versions, in no particular order. RELEASE_INVALID, DOWNLOAD_FAILED. */
  list(signal?: AbortSignal): Promise<IndexEntry[]>;
  /** The manifest of a version. RELEASE_NOT_FOUND, RELEASE_INVALID, DOWNLOAD_FAILED. */
  manifest(version: string, signal?: AbortSignal): Promise<FetchedManifest>;
  /**
   * The bytes of an archive from `fromByte` on; the caller counts and hashes them. DOWNLOAD_FAILED,
   * also as the stream's error, for what may pass when it is tried again; other codes for what will not.
   */
  artifact(
    version: string,
    artifact: ReleaseArtifact,
    signal: AbortSignal,
    fromByte?: number,
  ): Promise<Readable>;
}
