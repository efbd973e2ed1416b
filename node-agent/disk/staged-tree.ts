/**
 * Builds a tree of files beside the live one, to be renamed into its place when it is whole. Folders
 * and files are private while they are filled; owner, mode and time come at the end, deepest first,
 * because filling a folder changes its time and a read-only one could not be filled. After `finish`
 * the tree would survive a power cut. Belongs to durable-file.ts.
 */
import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  fsync,
  futimesSync,
  mkdirSync,
  openSync,
  writeFileSync,
} from 'node:fs';
import { lchown, lstat, lutimes, mkdir, open, rm, symlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { syncFolder } from './durable-file.js';
import { writeAll } from './durable-stream.js';

/** What an entry shall be in the end. */
export interface StagedEntry {
  /** Relative to the staged folder. */
  readonly path: string;
  /** Permission bits in octal digits. */
  readonly mode: string;
  readonly uid: number;
  readonly gid: number;
  /** Milliseconds since 1970, to the microsecond. */
  readonly mtimeMs: number;
}

/** Files that are flushed at once: the disk's journal then takes many in one go. */
const FLUSHES_AT_ONCE = 8;

/** Content up to this length is written in one go, without the thread pool. */
const SHORT_BYTES = 64 * 1024;

const flush = promisify(fsync);

/** A tree that is being built. Errors of every method: the system's, unchanged. */
export class StagedTree {
  private readonly files: StagedEntry[] = [];
  private readonly folders: StagedEntry[] = [];
  private readonly made = new Set(['.']);

  private constructor(private readonly folder: string) {}

  /** Begins with an empty folder; what a crash left under this name is removed. */
  static async begin(folder: string): Promise<StagedTree> {
    await rm(folder, { recursive: true, force: true });
    await mkdir(folder, { mode: 0o700 });
    return new StagedTree(folder);
  }

  async addFolder(entry: StagedEntry): Promise<void> {
    await this.ensureParents(entry.path);
    mkdirSync(join(this.folder, entry.path), { mode: 0o700 });
    this.folders.push(entry);
    this.made.add(entry.path);
  }

  /** `sizeBytes` is what the body is going to have. */
  async addFile(entry: StagedEntry, sizeBytes: number, body: AsyncIterable<Uint8Array>): Promise<void> {
    await this.ensureParents(entry.path);
    const path = join(this.folder, entry.path);
    if (sizeBytes <= SHORT_BYTES) await writeShort(path, body);
    else await writeLong(path, body);
    this.files.push(entry);
  }

  async addLink(entry: StagedEntry, target: string): Promise<void> {
    await this.ensureParents(entry.path);
    const path = join(this.folder, entry.path);
    await symlink(target, path);
    const now = await lstat(path);
    if (now.uid !== entry.uid || now.gid !== entry.gid) await lchown(path, entry.uid, entry.gid);
    await lutimes(path, seconds(entry.mtimeMs), seconds(entry.mtimeMs));
  }

  /** Sets owners, modes and times, and flushes everything. */
  async finish(): Promise<void> {
    const files = this.files.values();
    const workers = Array.from({ length: FLUSHES_AT_ONCE }, async () => {
      for (const entry of files) await this.settle(entry, constants.O_RDONLY | constants.O_NOFOLLOW);
    });
    await Promise.all(workers);
    // A folder is listed before what is in it, so the way back is deepest first.
    for (const entry of this.folders.toReversed()) {
      await this.settle(entry, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
    }
    await syncFolder(this.folder);
  }

  private async settle(entry: StagedEntry, flags: number): Promise<void> {
    const file = openSync(join(this.folder, entry.path), flags);
    try {
      own(file, entry);
      // After the owner: a change of owner clears setuid and setgid.
      fchmodSync(file, Number.parseInt(entry.mode, 8));
      futimesSync(file, seconds(entry.mtimeMs), seconds(entry.mtimeMs));
      await flush(file);
    } finally {
      closeSync(file);
    }
  }

  /** The folders above a path that is itself two or more levels deep, such as `var/lib`. */
  private async ensureParents(path: string): Promise<void> {
    const parent = dirname(path);
    if (this.made.has(parent)) return;
    await mkdir(join(this.folder, parent), { recursive: true, mode: 0o700 });
    this.made.add(parent);
  }
}

async function writeLong(path: string, body: AsyncIterable<Uint8Array>): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    await writeAll(file, body);
  } finally {
    await file.close();
  }
}

async function writeShort(path: string, body: AsyncIterable<Uint8Array>): Promise<void> {
  const pieces: Uint8Array[] = [];
  for await (const piece of body) pieces.push(piece);
  writeFileSync(path, Buffer.concat(pieces), { flag: 'wx', mode: 0o600 });
}

function own(file: number, entry: StagedEntry): void {
  const now = fstatSync(file);
  if (now.uid !== entry.uid || now.gid !== entry.gid) fchownSync(file, entry.uid, entry.gid);
}

/**
 * The system cuts off what is below a microsecond, and the nearest binary number may lie just under
 * the wanted one; so a little is added. A time before 1970 is only understood as a Date.
 */
function seconds(mtimeMs: number): number | Date {
  return mtimeMs < 0 ? new Date(mtimeMs) : (mtimeMs * 1_000 + 0.4) / 1_000_000;
}
