/**
 * Releases on a node's disk: a folder named after version and tree digest, its manifest beside it,
 * and a mark inside, written last. Invariant: without the mark there is no release, whatever else is
 * there; with it, tree and manifest were whole and synced before. A release that was damaged on the
 * disk and staged anew stands beside itself, with `-2`, `-3` … at the end of its folder's name.
 */
import { readdir, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { asPlexiError, PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import { isErrno, writeDurably } from '../durable-files.js';
import type { ReleaseManifest } from '../manifest-shape.js';
import { completeMark } from '../plain-path.js';
import { readIfThere } from '../small-file.js';
import { KnownReleases } from './known-releases.js';
import { verifyManifest } from './verify.js';

/** How the name of a manifest ends that lies beside its release. */
export const manifestEnd = '.manifest.json';

/** Hexadecimal digits of the tree digest in a folder's name. */
const digestDigits = 12;

/** What the mark of a complete release says. */
export interface CompleteMark {
  version: string;
  treeDigest: string;
  manifestSha256: string;
}

/** A release that is complete on this disk. */
export interface InstalledRelease extends CompleteMark {
  /** Name of its folder in the folder of releases. */
  folder: string;
  manifest: ReleaseManifest;
}

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const markSchema = z.object({ version: z.string().min(1), treeDigest: sha256, manifestSha256: sha256 });

const known = new KnownReleases<InstalledRelease>();

/** The name of a release's folder; `copy` counts from 1. */
export function releaseFolderName(version: string, treeDigest: string, copy = 1): string {
  const name = `${version}-${treeDigest.slice(0, digestDigits)}`;
  return copy === 1 ? name : `${name}-${copy}`;
}

/** Which copy of its release a folder's name says it is, from 1. */
export function copyNumber(folder: string): number {
  const [, copy = '1'] = /-[0-9a-f]{12}-([1-9][0-9]{0,5})$/.exec(folder) ?? [];
  return Number(copy);
}

/**
 * The release in a folder of the folder of releases; undefined when it is not complete.
 * RELEASE_INVALID when it is marked complete and its mark or manifest is damaged.
 */
export async function installedRelease(
  releasesDir: string,
  folder: string,
): Promise<InstalledRelease | undefined> {
  const markFile = join(releasesDir, folder, completeMark);
  const manifest = manifestFile(releasesDir, folder);
  return known.get(markFile, manifest, () => readInstalled(folder, markFile, manifest));
}

async function readInstalled(
  folder: string,
  markFile: string,
  file: string,
): Promise<InstalledRelease | undefined> {
  const bytes = await readIfThere(markFile, limits.completeMarkBytes);
  if (bytes === undefined) return undefined;
  const mark = markOf(bytes, markFile);
  const manifestBytes = await readIfThere(file, limits.manifestBytes);
  if (manifestBytes === undefined) throw damaged(file, 'is missing');
  try {
    return { ...mark, folder, manifest: verifyManifest(manifestBytes, mark.manifestSha256) };
  } catch (thrown) {
    throw damaged(file, 'is not the manifest that the release was installed with', thrown);
  }
}

/**
 * The complete releases of a version, found without the repository, the newest copy first. Those with
 * a damaged mark are passed over: staging finds and repairs them, or says what is wrong with them.
 */
export async function installedCopies(releasesDir: string, version: string): Promise<InstalledRelease[]> {
  const copies: InstalledRelease[] = [];
  for (const folder of await foldersIn(releasesDir)) {
    if (!folder.startsWith(`${version}-`)) continue;
    const release = await intactOrNone(releasesDir, folder);
    if (release?.version === version) copies.push(release);
  }
  return copies.sort((a, b) => copyNumber(b.folder) - copyNumber(a.folder));
}

/** Saves the manifest beside the release and marks it complete, the mark last. */
export async function markComplete(
  releasesDir: string,
  folder: string,
  manifestBytes: Uint8Array,
  mark: CompleteMark,
): Promise<void> {
  await writeDurably(manifestFile(releasesDir, folder), manifestBytes);
  // Its temporary file stays outside the folder, so that the tree holds nothing but the release.
  await writeDurably(join(releasesDir, folder, completeMark), `${JSON.stringify(mark)}\n`, releasesDir);
}

/** A release that is wanted again is as young as a new one, and goes as late. */
export async function renewMark(releasesDir: string, folder: string): Promise<void> {
  const now = new Date();
  await utimes(join(releasesDir, folder, completeMark), now, now);
}

/** Where the manifest of an installed release lies. */
export function manifestFile(releasesDir: string, folder: string): string {
  return join(releasesDir, `${folder}${manifestEnd}`);
}

/** A complete release; undefined also when its mark or its manifest is damaged. */
export async function intactOrNone(
  releasesDir: string,
  folder: string,
): Promise<InstalledRelease | undefined> {
  try {
    return await installedRelease(releasesDir, folder);
  } catch (thrown) {
    if (asPlexiError(thrown, 'STAGE_FAILED', folder).code === 'RELEASE_INVALID') return undefined;
    throw thrown;
  }
}

async function foldersIn(releasesDir: string): Promise<string[]> {
  try {
    const entries = await readdir(releasesDir, { withFileTypes: true });
    return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
  } catch (thrown) {
    if (isErrno(thrown, 'ENOENT')) return [];
    throw thrown;
  }
}

function markOf(bytes: Buffer, file: string): CompleteMark {
  try {
    return markSchema.parse(JSON.parse(bytes.toString('utf8')));
  } catch (thrown) {
    throw damaged(file, 'is not readable', thrown);
  }
}

function damaged(file: string, why: string, cause?: unknown): PlexiError {
  return new PlexiError(
    'RELEASE_INVALID',
    `${file} ${why}, so the installed release beside it cannot be trusted; stage that version again.`,
    { cause },
  );
}
