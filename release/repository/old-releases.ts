/**
 * Which releases a node has, the newest first, and how one of them goes. Invariant: one that goes loses its name
 * at once, by a rename: no reader and no crash meets a part of it; what a killed agent leaves is swept at the
 * next start like a half-unpacked one. What one of the node's links leads to is refused here, too.
 */
import { readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { syncFolder } from '../durable-files.js';
import { completeMark } from '../plain-path.js';
import { type InstalledRelease, intactOrNone, manifestFile } from './installed.js';
import { isLive, stagingFolder } from './place.js';

/**
 * The complete releases of a node, the one that was staged last first. What is not complete, or is damaged, is
 * passed over: staging repairs it, and says what is wrong with it.
 */
export async function releasesByAge(releasesDir: string): Promise<InstalledRelease[]> {
  const found: { release: InstalledRelease; stagedAtMs: number }[] = [];
  for (const entry of await readdir(releasesDir, { withFileTypes: true })) {
    if (!entry.isDirectory()) continue;
    const release = await intactOrNone(releasesDir, entry.name);
    if (release === undefined) continue;
    const { mtimeMs } = await stat(join(releasesDir, entry.name, completeMark));
    found.push({ release, stagedAtMs: mtimeMs });
  }
  found.sort((a, b) => b.stagedAtMs - a.stagedAtMs || a.release.folder.localeCompare(b.release.folder));
  return found.map(({ release }) => release);
}

/** Removes a release; false, and nothing changed, when a link leads to it. Errors: the system's. */
export async function removeRelease(releasesDir: string, folder: string): Promise<boolean> {
  if (await isLive(releasesDir, folder)) return false;
  const going = stagingFolder(releasesDir, folder);
  await rm(going, { recursive: true, force: true });
  await rename(join(releasesDir, folder), going);
  await syncFolder(releasesDir);
  await rm(manifestFile(releasesDir, folder), { force: true });
  await rm(going, { recursive: true });
  await syncFolder(releasesDir);
  return true;
}
