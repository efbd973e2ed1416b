/**
 * Lists what a backup holds: files, folders and links below the given paths, sorted, with mode,
 * owner and time, links as links. What cannot be brought back as it was is refused by name before
 * anything is changed: sockets, pipes and devices, names that are no UTF-8, other filesystems (a
 * restore works by rename), a link in the place of a whole path, whose content would be missed, and what
 * belongs to somebody whom this process may not give it back to.
 */
import { isUtf8 } from 'node:buffer';
import type { BigIntStats } from 'node:fs';
import { lstat, readdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import { isSystemError } from '../disk/durable-file.js';
import type { BackupEntry } from './backup-manifest.js';
import { whyNotGivenBack, whyNotRead } from './own-entries.js';

/** An entry before its content was read. */
export type ListedEntry = Omit<BackupEntry, 'sha256'>;

/** What was found below the paths. */
export interface Listing {
  readonly paths: { path: string; present: boolean }[];
  readonly entries: ListedEntry[];
  readonly totalBytes: number;
}

/** Entries of one folder that are looked at at once. */
const LOOKS_AT_ONCE = 32;

/**
 * Lists everything below `paths`, each relative to `root`; a folder comes before what is in it.
 * Errors: BACKUP_FAILED, which names what cannot be backed up.
 */
export async function listTree(root: string, paths: readonly string[]): Promise<Listing> {
  const device = (await lstat(root, { bigint: true })).dev;
  const entries: ListedEntry[] = [];
  const present: { path: string; present: boolean }[] = [];
  for (const path of paths) {
    const facts = await topFacts(root, path, device);
    present.push({ path, present: facts !== undefined });
    if (facts === undefined) continue;
    await list(root, path, facts, device, entries);
  }
  const totalBytes = entries.reduce((sum, entry) => sum + entry.sizeBytes, 0);
  return { paths: present, entries, totalBytes };
}

/**
 * Bytes of all files below the paths, for an estimate while the service still runs: what vanishes
 * meanwhile is left out, and so is what only a finished listing may judge (a socket of the service).
 * Errors: BACKUP_FAILED where one of the paths can never be backed up, or something below it cannot be read or
 * given back.
 */
export async function treeSizeBytes(root: string, paths: readonly string[]): Promise<number> {
  const device = (await lstat(root, { bigint: true })).dev;
  let sum = 0;
  for (const path of paths) {
    const facts = await topFacts(root, path, device);
    if (facts !== undefined) sum += await sizeBelow(root, path, facts);
  }
  return sum;
}

/** Whether two descriptions of an entry say the same, content apart. */
export function sameEntry(a: ListedEntry, b: ListedEntry): boolean {
  return (
    a.path === b.path &&
    a.type === b.type &&
    a.mode === b.mode &&
    a.uid === b.uid &&
    a.gid === b.gid &&
    a.mtimeMs === b.mtimeMs &&
    a.sizeBytes === b.sizeBytes &&
    a.link === b.link
  );
}

/** What one of the asked paths is; undefined when there is nothing. */
async function topFacts(root: string, path: string, device: bigint): Promise<BigIntStats | undefined> {
  const facts = await factsOf(join(root, path));
  if (facts?.isSymbolicLink() === true) {
    throw refused(path, 'is a link, and what it leads to would be missing; put the folder itself there');
  }
  if (facts !== undefined) refuseOtherFilesystem(path, facts, device);
  return facts;
}

/** A folder tells its filesystem. A plain file does not: on an overlay it names the layer that it lies in. */
function refuseOtherFilesystem(path: string, facts: BigIntStats, device: bigint): void {
  if (facts.dev === device || !facts.isDirectory()) return;
  throw refused(path, 'is on another filesystem than the root, so a restore could not put it in place');
}

async function sizeBelow(root: string, path: string, facts: BigIntStats): Promise<number> {
  refuseForeign(path, facts);
  const isFolder = facts.isDirectory();
  if (!isFolder && !facts.isFile()) return 0;
  const why = await whyNotRead(join(root, path));
  if (why !== undefined) throw refused(path, why);
  if (!isFolder) return Number(facts.size);
  let sum = 0;
  for (const name of await namesIn(join(root, path))) {
    const child = `${path}/${name.toString('utf8')}`;
    const childFacts = await factsOf(join(root, child));
    if (childFacts !== undefined) sum += await sizeBelow(root, child, childFacts);
  }
  return sum;
}

function refuseForeign(path: string, facts: BigIntStats): void {
  const why = whyNotGivenBack(facts);
  if (why !== undefined) throw refused(path, why);
}

async function namesIn(folder: string): Promise<Buffer[]> {
  try {
    return await readdir(folder, { encoding: 'buffer' });
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return [];
    throw error;
  }
}

async function list(
  root: string,
  path: string,
  facts: BigIntStats,
  device: bigint,
  found: ListedEntry[],
): Promise<void> {
  refuseOtherFilesystem(path, facts, device);
  refuseForeign(path, facts);
  found.push(await describe(root, path, facts));
  if (found.length > limits.backupEntries) {
    throw refused(path, `is one too many: a backup holds at most ${limits.backupEntries} entries`);
  }
  if (!facts.isDirectory()) return;
  const names = (await readdir(join(root, path), { encoding: 'buffer' })).sort(Buffer.compare);
  for (let at = 0; at < names.length; at += LOOKS_AT_ONCE) {
    const some = names.slice(at, at + LOOKS_AT_ONCE).map((name) => `${path}/${textOf(path, name)}`);
    const looks = await Promise.all(
      some.map(async (child) => ({ child, look: await lstat(join(root, child), { bigint: true }) })),
    );
    for (const { child, look } of looks) await list(root, child, look, device, found);
  }
}

async function describe(root: string, path: string, facts: BigIntStats): Promise<ListedEntry> {
  const type = typeOf(path, facts);
  return {
    path,
    type,
    // The bits of a link mean nothing, and differ between systems.
    mode: type === 'link' ? '0777' : (Number(facts.mode) & 0o7777).toString(8).padStart(4, '0'),
    uid: Number(facts.uid),
    gid: Number(facts.gid),
    mtimeMs: Number(facts.mtimeNs / 1_000n) / 1_000,
    sizeBytes: type === 'file' ? Number(facts.size) : 0,
    link: type === 'link' ? await linkTarget(root, path) : null,
  };
}

function typeOf(path: string, facts: BigIntStats): BackupEntry['type'] {
  if (facts.isFile()) return 'file';
  if (facts.isDirectory()) return 'directory';
  if (facts.isSymbolicLink()) return 'link';
  throw refused(path, `is a ${kindOf(facts)}, which cannot be backed up; remove it or move it elsewhere`);
}

function kindOf(facts: BigIntStats): string {
  if (facts.isSocket()) return 'socket';
  if (facts.isFIFO()) return 'pipe';
  return 'device';
}

async function linkTarget(root: string, path: string): Promise<string> {
  const target = await readlink(join(root, path), { encoding: 'buffer' });
  if (isUtf8(target)) return target.toString('utf8');
  throw refused(path, 'is a link to a name that is no UTF-8');
}

function textOf(folder: string, name: Buffer): string {
  if (isUtf8(name)) return name.toString('utf8');
  throw refused(`${folder}/${name.toString('latin1')}`, 'has a name that is no UTF-8; rename it');
}

async function factsOf(path: string): Promise<BigIntStats | undefined> {
  try {
    return await lstat(path, { bigint: true });
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return undefined;
    throw error;
  }
}

function refused(path: string, why: string): PlexiError {
  return new PlexiError('BACKUP_FAILED', `no backup can be made: ${path} ${why}`, { details: { path } });
}
