/**
 * What was read of the releases on this disk, so that a manifest is parsed once and not at each status.
 * Invariant: what is known counts only while mark and manifest are the very files that were read: same
 * inode, size and times. The time of change (ctime) is among them, which no program can set back.
 */
import { type BigIntStats, statSync } from 'node:fs';
import { limits } from '../../config/limits.js';
import type { InstalledRelease } from './installed.js';

/**
 * Milliseconds that a file must have been left alone before what was read of it is kept: the system's
 * times go forward in steps of some milliseconds, and a change within one step would not show.
 */
const settledMs = 100;

interface Known {
  readonly files: string;
  readonly sizeBytes: number;
  readonly release: InstalledRelease;
}

/** By the path of the mark; what was asked for last stands last. */
const known = new Map<string, Known>();
let knownBytes = 0;

/**
 * The release of these two files: the known one while they are unchanged, else what `read` gives.
 * Errors: those of `read`; nothing is kept then. The release is shared and frozen.
 */
export async function knownRelease(
  markFile: string,
  manifestFile: string,
  read: () => Promise<InstalledRelease | undefined>,
): Promise<InstalledRelease | undefined> {
  const before = known.get(markFile);
  // Looked at before it is read: a change in between shows at the next look.
  const now = filesOf(markFile, manifestFile);
  if (before !== undefined) {
    forget(markFile, before);
    if (before.files === now?.files) return keep(markFile, before);
  }
  const release = await read();
  if (release === undefined || now === undefined || !now.settled) return release;
  return keep(markFile, { ...now, release: frozen(release) });
}

function keep(markFile: string, entry: Known): InstalledRelease {
  const other = known.get(markFile);
  if (other !== undefined) forget(markFile, other);
  known.set(markFile, entry);
  knownBytes += entry.sizeBytes;
  for (const [oldest, { sizeBytes }] of known) {
    if (knownBytes <= limits.knownManifestsBytes) break;
    forget(oldest, { sizeBytes });
  }
  return entry.release;
}

function forget(markFile: string, { sizeBytes }: Pick<Known, 'sizeBytes'>): void {
  if (known.delete(markFile)) knownBytes -= sizeBytes;
}

function filesOf(markFile: string, manifestFile: string) {
  const mark = statSync(markFile, { bigint: true, throwIfNoEntry: false });
  const manifest = statSync(manifestFile, { bigint: true, throwIfNoEntry: false });
  if (mark === undefined || manifest === undefined) return undefined;
  const changedMs = Math.max(Number(mark.ctimeMs), Number(manifest.ctimeMs));
  return {
    files: `${identityOf(mark)} ${identityOf(manifest)}`,
    sizeBytes: Number(mark.size + manifest.size),
    settled: Math.abs(Date.now() - changedMs) > settledMs,
  };
}

function identityOf({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return [dev, ino, size, mtimeNs, ctimeNs].join('.');
}

/** Who changed it would change it for everybody. */
function frozen<T>(value: T): T {
  if (typeof value !== 'object' || value === null) return value;
  for (const part of Object.values(value)) frozen(part);
  return Object.freeze(value);
}
