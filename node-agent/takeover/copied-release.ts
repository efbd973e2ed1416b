/**
 * A release that is made on the node, from a folder that no repository knows. Invariant: what it leaves
 * under releases/ cannot be told from a staged release: the files, compared with the list that was made
 * before, a manifest that every reader accepts, and the mark, written last. Doing it again after a
 * crash at any point gives the same folder.
 */
import { constants } from 'node:fs';
import { chmod, mkdir, open, rename, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { PlexiError } from '../../config/errors.js';
import { syncFolder } from '../../release/durable-files.js';
import { printManifest, treeDigest } from '../../release/manifest.js';
import { plainName } from '../../release/manifest-schema.js';
import type { ReleaseArtifact, ReleaseManifest, ReleaseService } from '../../release/manifest-shape.js';
import { impliedFolders } from '../../release/plain-path.js';
import { markComplete } from '../../release/repository/installed.js';
import { choosePlace, stagingFolder } from '../../release/repository/place.js';
import { inTurn } from '../../release/repository/turns.js';
import { manifestSha256, verifyManifest } from '../../release/repository/verify.js';
import { chunksOf, treeDifferences } from '../../release/tree.js';
import type { FolderFile } from './folder-files.js';

/** Permission bits of every folder of a release. */
const FOLDER_MODE = 0o755;

/** What a release made on the node says of itself. */
export interface CopiedRelease {
  readonly version: string;
  /** What release.yml calls it; undefined: its folder's name, where that can be one. */
  readonly name: string | undefined;
  readonly directory: string;
  readonly service: ReleaseService;
  readonly files: readonly FolderFile[];
  readonly createdAt: Date;
}

/** The manifest of such a release. @throws PlexiError RELEASE_INVALID with what no manifest may say */
export function copiedManifest(release: CopiedRelease): ReleaseManifest {
  const { version, service } = release;
  const manifest: ReleaseManifest = {
    ...{ schema: 1, name: nameOf(release), version, createdAt: release.createdAt.toISOString() },
    ...{ sourceCommit: null, artifacts: [artifactOf(release)], migrations: [], service, tests: [] },
  };
  return verifyManifest(printManifest(manifest), undefined);
}

/** Whether a release was made on a node: its manifest names no archive, so no repository can give it again. */
export function isCopied({ artifacts }: Pick<ReleaseManifest, 'artifacts'>): boolean {
  return artifacts.every(({ sha256, treeDigest: digest }) => sha256 === digest);
}

/**
 * Copies the files under releases/ and marks them complete; returns the folder's name.
 * @throws PlexiError RELEASE_DIGEST_MISMATCH when a file changed meanwhile; nothing is left then
 */
export async function copyRelease(
  releasesDir: string,
  manifest: ReleaseManifest,
  files: readonly FolderFile[],
  signal: AbortSignal,
): Promise<string> {
  return inTurn(releasesDir, signal, () => copy(releasesDir, manifest, files, signal));
}

async function copy(
  releasesDir: string,
  manifest: ReleaseManifest,
  files: readonly FolderFile[],
  signal: AbortSignal,
): Promise<string> {
  const [artifact] = manifest.artifacts;
  if (artifact === undefined) throw new Error('a manifest has an artifact');
  const { version } = manifest;
  const { folder, found } = await choosePlace(artifact, { releasesDir, version, anew: true, signal });
  if (found === 'complete') return folder;
  if (found === 'missing') await copyInto(releasesDir, folder, files, artifact, signal);
  const bytes = printManifest(manifest);
  const mark = { version, treeDigest: artifact.treeDigest, manifestSha256: manifestSha256(bytes) };
  await markComplete(releasesDir, folder, bytes, mark);
  return folder;
}

function nameOf({ name, directory }: CopiedRelease): string {
  const named = plainName.safeParse(name ?? basename(directory));
  return named.success ? named.data : 'service';
}

function artifactOf(release: CopiedRelease): ReleaseArtifact {
  const files = release.files.map(({ path, mode, sizeBytes, sha256 }) => ({ path, mode, sizeBytes, sha256 }));
  const digest = treeDigest(files);
  const sizeBytes = files.reduce((sum, file) => sum + file.sizeBytes, 0);
  const { platform, arch } = process;
  return {
    ...{ os: platform, arch, file: `${nameOf(release)}-${release.version}-${platform}-${arch}.tar.gz` },
    // There is no archive; its size and digest are those of the files, so that they say something true.
    ...{ sizeBytes, sha256: digest, unpackedBytes: sizeBytes, treeDigest: digest, files },
  };
}

async function copyInto(
  releasesDir: string,
  folder: string,
  files: readonly FolderFile[],
  artifact: ReleaseArtifact,
  signal: AbortSignal,
): Promise<void> {
  const staging = stagingFolder(releasesDir, folder);
  await rm(staging, { recursive: true, force: true });
  try {
    const folders = [...impliedFolders(files.map(({ path }) => path))];
    await makeFolders([staging, ...folders.map((path) => join(staging, path))]);
    for (const file of files) await copyFile(file, join(staging, file.path), signal);
    const differences = await treeDifferences(staging, artifact.files, signal);
    if (differences.length > 0) throw changedMeanwhile(differences);
    for (const path of folders.reverse()) await syncFolder(join(staging, path));
    await syncFolder(staging);
    await rename(staging, join(releasesDir, folder));
    await syncFolder(releasesDir);
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
}

/** The umask is the agent's, and the service may have another user. */
async function makeFolders(paths: readonly string[]): Promise<void> {
  for (const path of paths) {
    await mkdir(path, { recursive: true });
    await chmod(path, FOLDER_MODE);
  }
}

/** Copies as many bytes as were listed; never through a link, and never waiting for a pipe. */
async function copyFile(
  { source, sizeBytes, mode }: FolderFile,
  to: string,
  signal: AbortSignal,
): Promise<void> {
  const from = await open(source, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const copy = await open(to, 'wx', 0o600);
    try {
      let copied = 0;
      for await (const chunk of chunksOf(from)) {
        signal.throwIfAborted();
        copied += chunk.length;
        if (copied > sizeBytes) throw changedMeanwhile([`${source}: grows`]);
        await copy.writeFile(chunk);
      }
      await copy.chmod(mode);
      await copy.sync();
    } finally {
      await copy.close();
    }
  } finally {
    await from.close();
  }
}

function changedMeanwhile(differences: readonly string[]): PlexiError {
  return new PlexiError(
    'RELEASE_DIGEST_MISMATCH',
    `the files changed while they were copied (${differences[0]}); keep what the service writes out of its program's folder, or list it under exclude: in a release.yml there`,
    { details: { differences } },
  );
}
