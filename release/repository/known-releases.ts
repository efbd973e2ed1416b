/**
 * What was read of the releases on this disk, so that a manifest is parsed once and not at each status.
 * Invariant: what is known counts only while mark and manifest are the very files that were read: same
 * inode, size and times. The time of change (ctime) is among them, which no program can set back.
 */
import { type BigIntStats, statSync } from 'node:fs';
import { limits } from '../../config/limits.js';

/**
 * Milliseconds that a file must have been left alone before what was read of it is kept: the system's
 * times go forward in steps of some milliseconds, and a change within one step would not show.
 */
const settledMs = 100;

interface Known<R> {
  readonly files: string;
  readonly sizeBytes: number;
  readonly release: R;
}

/** Releases as they were read, bounded by the bytes of their files. */
export class KnownReleases<R extends object> {
  /** By the path of the mark; what was asked for last stands last. */
  private readonly known = new Map<string, Known<R>>();
  private bytes = 0;

  /**
   * The release of these two files: the known one while they are unchanged, else what `read` gives.
   * Errors: those of `read`; nothing is kept then. A release that is kept is shared and frozen.
   */
  async get(
    markFile: string,
    manifestFile: string,
    read: () => Promise<R | undefined>,
  ): Promise<R | undefined> {
    // Looked at before it is read: a change in between shows at the next look.
    const now = filesOf(markFile, manifestFile);
    const before = this.forget(markFile);
    if (before !== undefined && before.files === now?.files) return this.keep(markFile, before);
    const release = await read();
    if (release === undefined || now === undefined || !now.settled) return release;
    return this.keep(markFile, { ...now, release: frozen(release) });
  }

  private keep(markFile: string, entry: Known<R>): R {
    // Another call may have read the same release meanwhile.
    this.forget(markFile);
    this.known.set(markFile, entry);
    this.bytes += entry.sizeBytes;
    for (const oldest of this.known.keys()) {
      if (this.bytes <= limits.knownManifestsBytes) break;
      this.forget(oldest);
    }
    return entry.release;
  }

  private forget(markFile: string): Known<R> | undefined {
    const entry = this.known.get(markFile);
    if (this.known.delete(markFile)) this.bytes -= entry?.sizeBytes ?? 0;
    return entry;
  }
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
