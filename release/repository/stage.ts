/**
 * Brings a release onto a node, beside what runs there. Invariant (guarantees 3 and 8): a folder that
 * is marked complete holds exactly what the pinned manifest lists, synced to the disk, and nothing of
 * a release stands outside a staging folder before every file of it was compared. Staging twice is the
 * same as once; after a crash at any point it is simply done again. What is live is never removed.
 */
import { mkdir, readlink, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { asPlexiError, PlexiError } from '../../config/errors.js';
import { unpackStrictly } from '../archive.js';
import { isErrno, syncFolder } from '../durable-files.js';
import { artifactFor } from '../manifest.js';
import type { ReleaseArtifact, ReleaseManifest } from '../manifest-shape.js';
import { treeDifferences } from '../tree.js';
import { downloadArtifact } from './download.js';
import {
  findInstalled,
  type InstalledRelease,
  installedRelease,
  markComplete,
  releaseFolderName,
} from './installed.js';
import type { ReleaseRepository } from './release-repository.js';
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
    return await stage(options);
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
  const { releasesDir, version, signal } = options;
  const installed = await findInstalled(releasesDir, version, options.manifestSha256);
  if (installed !== undefined) return verifyInstalled(installed, options);
  const fetched = await options.repository.manifest(version, signal);
  const manifest = verifyManifest(fetched.bytes, options.manifestSha256);
  const artifact = plannedArtifact(manifest, options);
  const folder = releaseFolderName(version, artifact.treeDigest);
  const staged = { folder, treeDigest: artifact.treeDigest, manifest };
  await mkdir(releasesDir, { recursive: true });
  const found = await existing(releasesDir, folder, artifact, signal);
  if (found === 'complete') return { ...staged, already: true };
  if (found === 'missing') await download(options, artifact, folder);
  const { manifestSha256 } = options;
  await markComplete(releasesDir, folder, fetched.bytes, {
    version,
    treeDigest: artifact.treeDigest,
    manifestSha256,
  });
  return { ...staged, already: false };
}

/** A release that is marked complete must still be what its manifest says. */
async function verifyInstalled(release: InstalledRelease, options: StageOptions): Promise<StagedRelease> {
  const { folder, treeDigest, manifest } = release;
  const artifact = plannedArtifact(manifest, options);
  if (artifact.treeDigest !== treeDigest) {
    throw new PlexiError(
      'RELEASE_DIGEST_MISMATCH',
      `${folder} was installed from the archive of another platform.`,
    );
  }
  const differences = await treeDifferences(
    join(options.releasesDir, folder),
    artifact.files,
    options.signal,
  );
  if (differences.length > 0) throw changedOnDisk(join(options.releasesDir, folder), differences);
  return { folder, treeDigest, manifest, already: true };
}

/**
 * What stands at the release's place: `complete`; `whole`, which lacks only its mark; or `missing`,
 * after an incomplete rest was removed. RELEASE_DIGEST_MISMATCH when what is complete or live differs.
 */
async function existing(
  releasesDir: string,
  folder: string,
  artifact: ReleaseArtifact,
  signal: AbortSignal,
): Promise<'complete' | 'whole' | 'missing'> {
  const path = join(releasesDir, folder);
  if (!(await isThere(path))) return 'missing';
  const differences = await treeDifferences(path, artifact.files, signal);
  const isComplete = await isMarked(releasesDir, folder);
  if (differences.length === 0) return isComplete ? 'complete' : 'whole';
  if (isComplete || (await isLive(releasesDir, folder))) throw changedOnDisk(path, differences);
  await rm(path, { recursive: true });
  return 'missing';
}

async function download(options: StageOptions, artifact: ReleaseArtifact, folder: string): Promise<void> {
  const { releasesDir, signal } = options;
  const staging = join(releasesDir, `.staging-${folder}`);
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

/** A damaged mark counts as none: the tree was compared, and the mark is then written again. */
async function isMarked(releasesDir: string, folder: string): Promise<boolean> {
  try {
    return (await installedRelease(releasesDir, folder)) !== undefined;
  } catch (thrown) {
    if (thrown instanceof PlexiError && thrown.code === 'RELEASE_INVALID') return false;
    throw thrown;
  }
}

/** Whether one of the node's links points at the folder. */
async function isLive(releasesDir: string, folder: string): Promise<boolean> {
  for (const link of ['current', 'previous', 'trial']) {
    if ((await targetOf(join(dirname(releasesDir), link))) === folder) return true;
  }
  return false;
}

async function targetOf(link: string): Promise<string | undefined> {
  try {
    return basename(await readlink(link));
  } catch (thrown) {
    if (isErrno(thrown, 'ENOENT') || isErrno(thrown, 'EINVAL')) return undefined;
    throw thrown;
  }
}

async function isThere(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (thrown) {
    if (isErrno(thrown, 'ENOENT')) return false;
    throw thrown;
  }
}

function changedOnDisk(path: string, differences: readonly string[]): PlexiError {
  const [first = ''] = differences;
  const more = differences.length > 1 ? ` (and ${differences.length - 1} more)` : '';
  return new PlexiError(
    'RELEASE_DIGEST_MISMATCH',
    `${path} is not what its manifest says: ${first}${more}; move that folder away when nothing runs from it, and try again.`,
    { details: { differences } },
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
