/**
 * The manifest of a release (`manifest.json`): what it holds, for which machines, how it is started,
 * migrated and tested. It is immutable once published, and everything that is staged, applied or
 * migrated is compared with it. Invariant: a manifest that was read here has plain, unique paths,
 * sizes within the limits, and sums and digests that agree with its lists of files.
 */
import { createHash } from 'node:crypto';
import { PlexiError } from '../config/errors.js';
import { limits } from '../config/limits.js';
import { manifestSchema, problemsOf } from './manifest-schema.js';
import type { ReleaseArtifact, ReleaseFile, ReleaseManifest } from './manifest-shape.js';

export type {
  ReleaseArtifact,
  ReleaseFile,
  ReleaseManifest,
  ReleaseMigration,
  ReleaseService,
  ReleaseTest,
} from './manifest-shape.js';
export { type MigrationStep, migrationsBetween } from './migrations.js';

/** Reads `manifest.json`; PlexiError RELEASE_INVALID with all problems at once. */
export function parseManifest(bytes: Uint8Array): ReleaseManifest {
  if (bytes.byteLength > limits.manifestBytes) {
    throw manifestInvalid([`it has more than ${limits.manifestBytes} bytes`]);
  }
  const result = manifestSchema.safeParse(jsonOf(bytes));
  if (!result.success) throw manifestInvalid(problemsOf(result.error));
  const manifest = result.data;
  const wrong = manifest.artifacts.filter((artifact) => treeDigest(artifact.files) !== artifact.treeDigest);
  if (wrong.length > 0) {
    throw manifestInvalid(
      wrong.map((it) => `artifacts: the treeDigest of ${it.file} is not that of its files`),
    );
  }
  return manifest;
}

/** The bytes of `manifest.json`. */
export function printManifest(manifest: ReleaseManifest): Buffer {
  const artifacts = manifest.artifacts.map((artifact) => ({
    ...artifact,
    files: artifact.files.map((file) => ({ ...file, mode: octal(file.mode) })),
  }));
  return Buffer.from(`${JSON.stringify({ ...manifest, artifacts }, undefined, 1)}\n`);
}

/** SHA-256 (hex) over the list of files sorted by path: mode, size, digest and path of each. */
export function treeDigest(files: readonly ReleaseFile[]): string {
  const hash = createHash('sha256');
  for (const file of sortedByPath(files)) {
    hash.update(`${octal(file.mode)} ${file.sizeBytes} ${file.sha256} ${file.path}\n`);
  }
  return hash.digest('hex');
}

/** Files in the order of their paths' code units, the same on every machine. */
export function sortedByPath(files: readonly ReleaseFile[]): ReleaseFile[] {
  return [...files].sort((a, b) => (a.path < b.path ? -1 : Number(a.path > b.path)));
}

/** The archive for a machine: its own kind first, then those made for any. */
export function artifactFor(
  manifest: ReleaseManifest,
  os: string,
  arch: string,
): ReleaseArtifact | undefined {
  const find = (wantedOs: string, wantedArch: string): ReleaseArtifact | undefined =>
    manifest.artifacts.find((artifact) => artifact.os === wantedOs && artifact.arch === wantedArch);
  return find(os, arch) ?? find(os, 'any') ?? find('any', arch) ?? find('any', 'any');
}

/** Permission bits as they stand in a manifest. */
export function octal(mode: number): string {
  return mode.toString(8).padStart(4, '0');
}

function jsonOf(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (thrown) {
    throw new PlexiError(
      'RELEASE_INVALID',
      'The release manifest is not JSON in UTF-8; build the release again.',
      {
        cause: thrown,
      },
    );
  }
}

function manifestInvalid(problems: readonly string[]): PlexiError {
  return new PlexiError(
    'RELEASE_INVALID',
    `The release manifest cannot be used: ${problems.join('; ')}. Build the release again.`,
    { details: { problems } },
  );
}
