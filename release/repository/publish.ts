/**
 * Builds a release into a repository folder. Invariant: a published version never changes; what is
 * there may only be joined by the same release for another platform, also when builds run beside each
 * other: what is published is read and joined under the version's lock. Files appear whole, the archive
 * before the manifest and the manifest before the index, so a build that dies before its manifest has
 * published nothing, and a reader never sees a version whose archive is missing.
 */
import { link, mkdir, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { asPlexiError, PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import {
  isTemporaryName,
  syncFolder,
  temporaryName,
  tryCreateDurably,
  writeDurably,
} from '../durable-files.js';
import { printManifest, treeDigest } from '../manifest.js';
import type { ReleaseArtifact, ReleaseFile, ReleaseManifest } from '../manifest-shape.js';
import { migrationChecksum } from '../migrations.js';
import { packFolder } from '../pack.js';
import { readIfThere } from '../small-file.js';
import { type VersionScheme, versionScheme } from '../version.js';
import { whileLocked } from './build-lock.js';
import { sourceCommitOf } from './git-source.js';
import { manifestName, versionSegment } from './layout.js';
import { readReleaseFile } from './release-file.js';
import { assertVersionFile, listSource } from './source-tree.js';
import { manifestSha256, verifyManifest } from './verify.js';
import { refuseLaterRepository, writeIndex } from './write-index.js';

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
  /** The same release for the same platform was published before; nothing of it was written. */
  already: boolean;
}

/** What one build brings, before it is packed. */
interface Release {
  draft: Omit<ReleaseManifest, 'artifacts'>;
  platform: { os: string; arch: string };
  files: ReleaseFile[];
}

/**
 * Builds and publishes a release. Errors: VERSION_INVALID, CONFIG_INVALID (`release.yml`), GIT_DIRTY,
 * RELEASE_INVALID (the folder), CONFLICT (the version exists with other contents, or another build that
 * does not end publishes it).
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
  const draft: Release['draft'] = {
    ...{ schema: 1, name, version, createdAt: now.toISOString(), sourceCommit, service, tests },
    migrations: migrations.map((it) => ({ ...it, checksum: migrationChecksum(it, files) })),
  };
  const folder = join(repository, versionSegment(version));
  const release = { draft, platform: options.platform ?? { os: 'any', arch: 'any' }, files };
  await refuseLaterRepository(repository);
  const there = await readPublished(folder);
  const built = (there && sameRelease(there, release)) ?? (await packAndPublish(from, folder, release));
  // Also for what was published before: its builder may have died before it came to the index.
  await writeIndex(repository);
  return built;
}

type Published = Omit<BuiltRelease, 'artifact' | 'already'>;

async function readPublished(folder: string): Promise<Published | undefined> {
  const bytes = await readIfThere(join(folder, manifestName), limits.manifestBytes);
  if (bytes === undefined) return undefined;
  return { manifest: verifyManifest(bytes, undefined), manifestSha256: manifestSha256(bytes) };
}

/** The release that is published already; undefined when it may be added. CONFLICT. */
function sameRelease(published: Published, { draft, platform, files }: Release): BuiltRelease | undefined {
  const { manifest } = published;
  for (const part of ['name', 'service', 'migrations', 'tests'] as const) {
    if (!isDeepStrictEqual(manifest[part], draft[part])) throw conflict(draft.version, `its ${part} differs`);
  }
  const { os, arch } = platform;
  const artifact = manifest.artifacts.find((it) => it.os === os && it.arch === arch);
  if (artifact === undefined) return undefined;
  if (artifact.treeDigest === treeDigest(files)) return { ...published, artifact, already: true };
  throw conflict(draft.version, `its files for ${os}/${arch} differ`);
}

/** Packing takes long and decides nothing, so other builds need not wait for it. */
async function packAndPublish(from: string, folder: string, release: Release): Promise<BuiltRelease> {
  await mkdir(folder, { recursive: true });
  await removeLeft(folder);
  const packed = temporaryName(folder, 'archive');
  try {
    const artifact = await packArtifact(from, packed, release);
    return await whileLocked(folder, () => publish(folder, packed, artifact, release));
  } finally {
    await rm(packed, { force: true });
  }
}

/** What builds that were killed had packed. Another one may pack at this moment, and it writes all the time. */
async function removeLeft(folder: string): Promise<void> {
  for (const name of (await readdir(folder)).filter(isTemporaryName)) {
    const file = join(folder, name);
    const { mtimeMs } = await stat(file).catch(() => ({ mtimeMs: Number.POSITIVE_INFINITY }));
    if (Date.now() - mtimeMs > limits.buildLeftMs) await rm(file, { force: true });
  }
}

async function packArtifact(
  from: string,
  packed: string,
  { draft, platform, files }: Release,
): Promise<ReleaseArtifact> {
  const { os, arch } = platform;
  const file = `${draft.name}-${draft.version}-${os}-${arch}.tar.gz`;
  const facts = await packFolder(from, files, packed);
  const unpackedBytes = files.reduce((bytes, { sizeBytes }) => bytes + sizeBytes, 0);
  return { os, arch, file, ...facts, unpackedBytes, treeDigest: treeDigest(files), files };
}

/** Adds the packed archive to what is published now; the caller holds the version's lock. */
async function publish(
  folder: string,
  packed: string,
  artifact: ReleaseArtifact,
  release: Release,
): Promise<BuiltRelease> {
  const published = await readPublished(folder);
  const same = published && sameRelease(published, release);
  if (same !== undefined) return same;
  const manifest: ReleaseManifest =
    published === undefined
      ? { ...release.draft, artifacts: [artifact] }
      : { ...published.manifest, artifacts: [...published.manifest.artifacts, artifact] };
  const bytes = printManifest(manifest);
  // What no node could read must not be published either.
  verifyManifest(bytes, undefined);
  await nameArchive(packed, join(folder, artifact.file));
  await syncFolder(folder);
  const file = join(folder, manifestName);
  if (published !== undefined) await writeDurably(file, bytes);
  else if (!(await tryCreateDurably(file, bytes))) {
    throw conflict(manifest.version, 'it was published by another build in this moment');
  }
  return { manifest, manifestSha256: manifestSha256(bytes), artifact, already: false };
}

/** What has the name already is the rest of a build that died: no published manifest names it. */
async function nameArchive(packed: string, file: string): Promise<void> {
  await rm(file, { force: true });
  // A link fails where a rename would write over the archive of a build that knows no lock.
  await link(packed, file);
}

function conflict(version: string, why: string): PlexiError {
  return new PlexiError(
    'CONFLICT',
    `${version} is published already and never changes: ${why}. Give the new release a new version.`,
  );
}
