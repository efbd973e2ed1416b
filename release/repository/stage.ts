/**
 * Brings a release onto a node, beside what runs there. Invariant (guarantees 3 and 8): a folder that
 * is marked complete holds exactly what the pinned manifest lists, synced to the disk, and nothing of
 * a release stands outside a staging folder before every file of it was compared. Staging twice is the
 * same as once; after a crash at any point it is simply done again. What is live is never removed.
 */
import { mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { asPlexiError, PlexiError } from '../../config/errors.js';
import { unpackStrictly } from '../archive.js';
import { syncFolder } from '../durable-files.js';
import { artifactFor } from '../manifest.js';
import type { ReleaseArtifact, ReleaseManifest } from '../manifest-shape.js';
import { treeDifferences } from '../tree.js';
import { downloadArtifact } from './download.js';
import { type InstalledRelease, installedCopies, markComplete, renewMark } from './installed.js';
import { changedOnDisk, choosePlace, stagingFolder } from './place.js';
import type { ReleaseRepository } from './release-repository.js';
import { inTurn } from './turns.js';
import { verifyManifest } from './verify.js';

export { type InstalledRelease, installedRelease } from './installed.js';

/** What to stage, and where. */
export interface StageOptions {
  repository: ReleaseRepository;
  version: string;
  /** SHA-256 (hex) of the manifest, as planned. */
  manifestSha256: string;
  /** SHA-256 (hex) of the archive for this machine, as planned. */
  artifactSha256: string;
  /** The node's folder of releases; made when it is missing. */
  releasesDir: string;
  os: string;
  arch: string;
  signal: AbortSignal;
  /** A copy that was changed on the disk is left as it is, and another one made beside it. */
  anew?: boolean;
  /** Called with whole percents of the download. */
  onProgress?: (percent: number) => void;
}

/** A release that is complete on this node. */
export interface StagedRelease {
  /** Name of its folder in the folder of releases. */
  folder: string;
  treeDigest: string;
  manifest: ReleaseManifest;
  /** It was complete before, and is intact. */
  already: boolean;
}

/**
 * Stages a release. Errors: RELEASE_NOT_FOUND, RELEASE_INVALID, RELEASE_DIGEST_MISMATCH,
 * ARCHIVE_REFUSED, DOWNLOAD_FAILED, STAGE_FAILED (the disk), and the signal's reason.
 */
export async function stageRelease(options: StageOptions): Promise<StagedRelease> {
  try {
    return await inTurn(options.releasesDir, options.signal, () => stage(options));
  } catch (thrown) {
    if (options.signal.aborted) throw abortedBy(options.signal, options.version);
    throw asPlexiError(
      thrown,
      'STAGE_FAILED',
      `${options.version} could not be staged in ${options.releasesDir}`,
    );
  }
}

async function stage(options: StageOptions): Promise<StagedRelease> {
  const { releasesDir, version, signal, manifestSha256 } = options;
  const installed = await findIntact(options);
  if (installed !== undefined) {
    await renewMark(releasesDir, installed.folder);
    return installed;
  }
  const fetched = await options.repository.manifest(version, signal);
  const manifest = verifyManifest(fetched.bytes, manifestSha256);
  const artifact = plannedArtifact(manifest, options);
  const { treeDigest } = artifact;
  await mkdir(releasesDir, { recursive: true });
  const { folder, found } = await choosePlace(artifact, options);
  if (found === 'complete') {
    await renewMark(releasesDir, folder);
    return { folder, treeDigest, manifest, already: true };
  }
  if (found === 'missing') await download(options, artifact, folder);
  await markComplete(releasesDir, folder, fetched.bytes, { version, treeDigest, manifestSha256 });
  return { folder, treeDigest, manifest, already: false };
}

/**
 * The newest copy that is still what its manifest says. RELEASE_DIGEST_MISMATCH when every one was
 * changed, unless the release is staged anew.
 */
async function findIntact(options: StageOptions): Promise<StagedRelease | undefined> {
  let changed: PlexiError | undefined;
  for (const release of await installedCopies(options.releasesDir, options.version)) {
    if (release.manifestSha256 !== options.manifestSha256) continue;
    const { folder, treeDigest, manifest } = release;
    const differences = await differencesOf(release, options);
    if (differences.length === 0) return { folder, treeDigest, manifest, already: true };
    changed ??= changedOnDisk(join(options.releasesDir, folder), differences);
  }
  if (changed !== undefined && options.anew !== true) throw changed;
  return undefined;
}

/** A release that is marked complete must still be what its manifest says. */
async function differencesOf(release: InstalledRelease, options: StageOptions): Promise<string[]> {
  const { folder, treeDigest, manifest } = release;
  const artifact = plannedArtifact(manifest, options);
  if (artifact.treeDigest !== treeDigest) {
    throw new PlexiError(
      'RELEASE_DIGEST_MISMATCH',
      `${folder} was installed from the archive of another platform.`,
    );
  }
  return treeDifferences(join(options.releasesDir, folder), artifact.files, options.signal);
}

async function download(options: StageOptions, artifact: ReleaseArtifact, folder: string): Promise<void> {
  const { releasesDir, signal } = options;
  const staging = stagingFolder(releasesDir, folder);
  await rm(staging, { recursive: true, force: true });
  try {
    await unpackStrictly(downloadArtifact({ ...options, artifact }), staging, artifact, signal);
    const differences = await treeDifferences(staging, artifact.files, signal);
    if (differences.length > 0) throw changedOnDisk(staging, differences);
    await rename(staging, join(releasesDir, folder));
    await syncFolder(releasesDir);
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
}

function plannedArtifact(manifest: ReleaseManifest, options: StageOptions): ReleaseArtifact {
  const { version, os, arch, artifactSha256 } = options;
  if (manifest.version !== version) {
    throw new PlexiError(
      'RELEASE_INVALID',
      `The manifest of ${version} says it is ${manifest.version}; publish it again.`,
    );
  }
  const artifact = artifactFor(manifest, os, arch);
  if (artifact === undefined) {
    throw new PlexiError(
      'RELEASE_NOT_FOUND',
      `${version} has no archive for ${os}/${arch}; build one with --platform.`,
    );
  }
  if (artifact.sha256 === artifactSha256) return artifact;
  throw new PlexiError(
    'RELEASE_DIGEST_MISMATCH',
    `${version} for ${os}/${arch} has SHA-256 ${artifact.sha256}, but ${artifactSha256} was planned; make a new plan.`,
  );
}

function abortedBy({ reason }: AbortSignal, version: string): PlexiError {
  if (reason instanceof PlexiError) return reason;
  const isLate = reason instanceof DOMException && reason.name === 'TimeoutError';
  return new PlexiError(
    isLate ? 'STAGE_FAILED' : 'CANCELLED',
    isLate
      ? `${version} could not be staged within the time allowed; see how fast the release repository answers.`
      : `The staging of ${version} was stopped; it can be done again at any time.`,
    { cause: reason },
  );
}
