/**
 * Builds a release into a repository folder. Invariant: a published version never changes; what is
 * there may only be joined by the same release for another platform. Files appear whole, the archive
 * before the manifest and the manifest before the index, so a build that dies half-way has published
 * nothing, and a reader never sees a version whose archive is missing.
 */
import { mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { asPlexiError, PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import { syncFolder, temporaryName, tryCreateDurably, writeDurably } from '../durable-files.js';
import { printManifest, treeDigest } from '../manifest.js';
import type { ReleaseArtifact, ReleaseFile, ReleaseManifest } from '../manifest-shape.js';
import { migrationChecksum } from '../migrations.js';
import { packFolder } from '../pack.js';
import { readIfThere } from '../small-file.js';
import { type VersionScheme, versionScheme } from '../version.js';
import { sourceCommitOf } from './git-source.js';
import { manifestName, versionSegment } from './layout.js';
import { readReleaseFile } from './release-file.js';
import { assertVersionFile, listSource } from './source-tree.js';
import { manifestSha256, verifyManifest } from './verify.js';
import { writeIndex } from './write-index.js';

/** What to build. */
export interface BuildOptions {
  version: string;
  /** The folder with `release.yml`. */
  from: string;
  /** The repository's folder; made when it is missing. */
  repository: string;
  /** Any machine when it is not given. */
  platform?: { os: string; arch: string };
  /** Whether a git work tree with changes may be built. */
  allowDirty?: boolean;
  /** How the version is read; the plexi scheme when it is not given. */
  scheme?: VersionScheme;
  /** When the release is made; now when it is not given. */
  now?: Date;
}

/** What was built, or stood there already. */
export interface BuiltRelease {
  manifest: ReleaseManifest;
  manifestSha256: string;
  artifact: ReleaseArtifact;
  /** The same release for the same platform was published before; nothing was written. */
  already: boolean;
}

type Draft = Omit<ReleaseManifest, 'artifacts'>;

/**
 * Builds and publishes a release. Errors: VERSION_INVALID, CONFIG_INVALID (`release.yml`), GIT_DIRTY,
 * RELEASE_INVALID (the folder), CONFLICT (the version exists with other contents).
 */
export async function buildRelease(options: BuildOptions): Promise<BuiltRelease> {
  try {
    return await build(options);
  } catch (thrown) {
    throw asPlexiError(
      thrown,
      'RELEASE_INVALID',
      `${options.from} could not be built into ${options.repository}`,
    );
  }
}

async function build(options: BuildOptions): Promise<BuiltRelease> {
  const { from, repository, scheme = versionScheme('plexi'), now = new Date() } = options;
  const version = scheme.parse(options.version).canonical;
  const { name, service, migrations, tests, exclude } = readReleaseFile(from);
  await assertVersionFile(from, version, scheme);
  const sourceCommit = await sourceCommitOf(from, options.allowDirty === true);
  const files = await listSource(from, repository, exclude);
  const draft: Draft = {
    ...{ schema: 1, name, version, createdAt: now.toISOString(), sourceCommit, service, tests },
    migrations: migrations.map((it) => ({ ...it, checksum: migrationChecksum(it, files) })),
  };
  const folder = join(repository, versionSegment(version));
  const platform = options.platform ?? { os: 'any', arch: 'any' };
  const published = await readPublished(folder);
  if (published !== undefined) {
    const same = sameRelease(published, draft, platform, files);
    if (same !== undefined) return { ...published, artifact: same, already: true };
  }
  await mkdir(folder, { recursive: true });
  const artifact = await packArtifact(from, folder, draft, platform, files);
  const result = await publish(folder, published?.manifest, draft, artifact);
  await writeIndex(repository);
  return { ...result, artifact, already: false };
}

type Published = Omit<BuiltRelease, 'artifact' | 'already'>;

async function readPublished(folder: string): Promise<Published | undefined> {
  const bytes = await readIfThere(join(folder, manifestName), limits.manifestBytes);
  if (bytes === undefined) return undefined;
  return { manifest: verifyManifest(bytes, undefined), manifestSha256: manifestSha256(bytes) };
}

/** The artifact that is published already; undefined when it may be added. CONFLICT. */
function sameRelease(
  { manifest }: Published,
  draft: Draft,
  { os, arch }: { os: string; arch: string },
  files: readonly ReleaseFile[],
): ReleaseArtifact | undefined {
  for (const part of ['name', 'service', 'migrations', 'tests'] as const) {
    if (!isDeepStrictEqual(manifest[part], draft[part])) throw conflict(draft.version, `its ${part} differs`);
  }
  const artifact = manifest.artifacts.find((it) => it.os === os && it.arch === arch);
  if (artifact === undefined || artifact.treeDigest === treeDigest(files)) return artifact;
  throw conflict(draft.version, `its files for ${os}/${arch} differ`);
}

async function packArtifact(
  from: string,
  folder: string,
  { name, version }: Draft,
  { os, arch }: { os: string; arch: string },
  files: ReleaseFile[],
): Promise<ReleaseArtifact> {
  const file = `${name}-${version}-${os}-${arch}.tar.gz`;
  const temporary = temporaryName(folder, 'archive');
  try {
    const packed = await packFolder(from, files, temporary);
    await rename(temporary, join(folder, file));
    const unpackedBytes = files.reduce((bytes, { sizeBytes }) => bytes + sizeBytes, 0);
    return { os, arch, file, ...packed, unpackedBytes, treeDigest: treeDigest(files), files };
  } finally {
    await rm(temporary, { force: true });
  }
}

async function publish(
  folder: string,
  published: ReleaseManifest | undefined,
  draft: Draft,
  artifact: ReleaseArtifact,
): Promise<Published> {
  const manifest: ReleaseManifest =
    published === undefined
      ? { ...draft, artifacts: [artifact] }
      : { ...published, artifacts: [...published.artifacts, artifact] };
  const bytes = printManifest(manifest);
  // What no node could read must not be published either.
  verifyManifest(bytes, undefined);
  await syncFolder(folder);
  const file = join(folder, manifestName);
  if (published !== undefined) await writeDurably(file, bytes);
  else if (!(await tryCreateDurably(file, bytes))) {
    throw conflict(draft.version, 'it was published by another build in this moment');
  }
  return { manifest, manifestSha256: manifestSha256(bytes) };
}

function conflict(version: string, why: string): PlexiError {
  return new PlexiError(
    'CONFLICT',
    `${version} is published already and never changes: ${why}. Give the new release a new version.`,
  );
}
