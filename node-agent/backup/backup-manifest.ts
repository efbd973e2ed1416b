/**
 * manifest.json of a backup: what is in it, entry by entry, in the order of the archive, with the
 * SHA-256 of each file and of the archive; and manifest.sig, the node's signature over its bytes.
 * Whoever reads one gets only names that stay below the paths that were backed up, each below a
 * folder that is itself listed, so that unpacking can neither leave its place nor follow a link.
 */
import { createHash, sign, verify } from 'node:crypto';
import { join } from 'node:path';
import { z } from 'zod';
import { PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import { readBounded } from '../disk/durable-file.js';
import type { BackupKeys } from './keys.js';

/** The names of the files of a backup. */
export const MANIFEST_FILE = 'manifest.json';
export const SIGNATURE_FILE = 'manifest.sig';
export const COMPLETE_FILE = '.complete';

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const count = z.number().int().nonnegative();
const relativePath = z
  .string()
  .min(1)
  .refine(
    (path) => !path.includes('\0') && path.split('/').every((part) => !['', '.', '..'].includes(part)),
    {
      error: 'must be a plain relative path',
    },
  );

const entrySchema = z.object({
  /** Relative to the node's root, with `/`. */
  path: relativePath,
  type: z.enum(['file', 'directory', 'link']),
  /** Permission bits with setuid, setgid and sticky, in octal digits. */
  mode: z.string().regex(/^[0-7]{4}$/),
  uid: count,
  gid: count,
  /** Milliseconds since 1970, to the microsecond. */
  mtimeMs: z.number(),
  /** 0 for everything but files. */
  sizeBytes: count,
  /** Of a file's content; null for everything else. */
  sha256: sha256.nullable(),
  /** What a link points at, as it stands in the link; null for everything else. */
  link: z.string().min(1).nullable(),
});

const manifestSchema = z.object({
  schema: z.literal(1),
  id: z.string().min(1),
  node: z.string(),
  rollout: z.string(),
  /** The version that ran when the backup was made, or `none`. */
  version: z.string(),
  /** RFC 3339, UTC. */
  createdAt: z.iso.datetime(),
  /** What was asked for; `present` is false where there was nothing, and a restore removes it. */
  paths: z.array(z.object({ path: relativePath, present: z.boolean() })).max(limits.backupPaths),
  files: z.array(entrySchema).max(limits.backupEntries),
  archive: z.object({ file: z.enum(['archive.tar.gz', 'archive.tar.gz.age']), sizeBytes: count, sha256 }),
  compression: z.literal('gzip'),
  encryption: z.enum(['age', 'none']),
});

/** One file, folder or link of a backup. */
export type BackupEntry = z.infer<typeof entrySchema>;
/** The content of manifest.json. */
export type BackupManifest = z.infer<typeof manifestSchema>;

/** The bytes of manifest.json. */
export function manifestBytes(manifest: BackupManifest): Buffer {
  return Buffer.from(`${JSON.stringify(manifest, null, 1)}\n`);
}

/** The text of manifest.sig: an ed25519 signature in base64. */
export function signManifest(bytes: Uint8Array, keys: BackupKeys): string {
  return `${sign(null, bytes, keys.signingKey).toString('base64')}\n`;
}

/** The text of `.complete`. */
export function completeMark(id: string, bytes: Uint8Array): string {
  return `${JSON.stringify({ id, manifestSha256: createHash('sha256').update(bytes).digest('hex') })}\n`;
}

/**
 * Reads a complete backup's manifest and checks its signature.
 * Errors: BACKUP_INVALID with what is wrong; nothing of the archive has been read then.
 */
export async function readManifest(
  backupDir: string,
  keys: Pick<BackupKeys, 'verifyingKey'>,
): Promise<BackupManifest> {
  const bytes = await readPart(backupDir, MANIFEST_FILE, limits.backupManifestBytes);
  const signature = await readPart(backupDir, SIGNATURE_FILE, limits.backupKeyBytes);
  const complete = await readPart(backupDir, COMPLETE_FILE, limits.backupKeyBytes);
  if (!verify(null, bytes, keys.verifyingKey, Buffer.from(signature.toString('latin1').trim(), 'base64'))) {
    throw invalid(backupDir, 'its manifest was not signed by this node, or was changed since');
  }
  const manifest = parseManifest(backupDir, bytes);
  if (complete.toString('utf8') !== completeMark(manifest.id, bytes)) {
    throw invalid(backupDir, 'its mark of completeness belongs to another manifest');
  }
  return manifest;
}

/** The error for a backup that cannot be relied on. */
export function invalid(backupDir: string, why: string, cause?: unknown): PlexiError {
  // A path of the manifest may stand in it, and a manifest may hold any.
  const reason = why.slice(0, limits.failureChars);
  return new PlexiError('BACKUP_INVALID', `the backup ${backupDir} cannot be used: ${reason}`, {
    cause,
    details: { backupDir },
  });
}

async function readPart(backupDir: string, name: string, maxBytes: number): Promise<Buffer> {
  let bytes: Buffer | undefined;
  try {
    bytes = await readBounded(join(backupDir, name), maxBytes);
  } catch (error) {
    throw invalid(backupDir, `${name} cannot be read`, error);
  }
  if (bytes === undefined) throw invalid(backupDir, `${name} is missing, so it was never finished`);
  return bytes;
}

function parseManifest(backupDir: string, bytes: Buffer): BackupManifest {
  let manifest: BackupManifest;
  try {
    manifest = manifestSchema.parse(JSON.parse(bytes.toString('utf8')));
  } catch (error) {
    throw invalid(backupDir, 'its manifest has an unknown shape', error);
  }
  const problem = structureProblem(manifest);
  if (problem !== undefined) throw invalid(backupDir, problem);
  return manifest;
}

/** What contradicts itself in a manifest; undefined when nothing does. */
function structureProblem(manifest: BackupManifest): string | undefined {
  const roots = new Set(manifest.paths.filter(({ present }) => present).map(({ path }) => path));
  const seen = new Set<string>();
  const folders = new Set<string>();
  for (const entry of manifest.files) {
    const { path, type } = entry;
    if (seen.has(path)) return `${path} is listed twice`;
    seen.add(path);
    const parent = path.slice(0, path.lastIndexOf('/'));
    if (!roots.has(path) && !folders.has(parent)) return `${path} is in none of its folders`;
    if (type === 'directory') folders.add(path);
    if ((type === 'file') !== (entry.sha256 !== null)) return `${path} has a wrong digest`;
    if ((type === 'link') !== (entry.link !== null)) return `${path} has a wrong link`;
    if (type !== 'file' && entry.sizeBytes !== 0) return `${path} has a wrong size`;
  }
  const missing = [...roots].find((path) => !seen.has(path));
  return missing === undefined ? undefined : `${missing} is said to be there and is not listed`;
}
