/**
 * The node's own backup keys, in agent/identity: an age identity that backups are encrypted to, and
 * an ed25519 key that signs their manifests, because age does not say who wrote a file (design.md,
 * decision 13). A key lives as long as its backups do (protocol.md, rule 33), so one that is there
 * and cannot be read is never replaced: that would make every backup on the node worthless. Without it the
 * node serves on; only what makes or opens a backup fails (decision 15).
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { join } from 'node:path';
import { generateX25519Identity, identityToRecipient } from 'age-encryption';
import { asPlexiError, PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import { createDurably, isSystemError, readBounded } from '../disk/durable-file.js';

/** What encrypts, decrypts, signs and checks the backups of one node. */
export interface BackupKeys {
  /** `AGE-SECRET-KEY-1…`, a secret. */
  readonly ageIdentity: string;
  /** `age1…`, whom a backup is encrypted to. */
  readonly ageRecipient: string;
  /** The ed25519 key that signs manifests, a secret. */
  readonly signingKey: KeyObject;
  /** The ed25519 key that checks manifests. */
  readonly verifyingKey: KeyObject;
}

/** The keys of a node, or why they cannot be used. */
export type OpenedBackupKeys =
  | { readonly keys: BackupKeys; readonly damage: undefined }
  | { readonly keys: undefined; readonly damage: PlexiError };

/** The file of the age identity, in the form of the age program (`age -d -i backup.age`). */
export const AGE_KEY_FILE = 'backup.age';
/** The file of the signing key, PKCS #8 in PEM. */
export const SIGNING_KEY_FILE = 'backup-sign.key';

/**
 * Reads the keys, and makes what is not there yet, with mode 0600.
 * Errors: BACKUP_INVALID when a key file is there and cannot be understood; it is left as it is.
 */
export async function loadOrCreateBackupKeys(identityDir: string): Promise<BackupKeys> {
  const ageFile = join(identityDir, AGE_KEY_FILE);
  const ageText = (await readKey(ageFile)) ?? (await createKey(ageFile, await newAgeKey()));
  const signingFile = join(identityDir, SIGNING_KEY_FILE);
  const signingText = (await readKey(signingFile)) ?? (await createKey(signingFile, newSigningKey()));
  const age = await understand(ageFile, () => parseAgeKey(ageText));
  const signingKey = await understand(signingFile, () => parseSigningKey(signingText));
  return { ...age, signingKey, verifyingKey: createPublicKey(signingKey) };
}

/** `loadOrCreateBackupKeys`, with damage as part of the answer. Errors: the system's, when nothing can be written. */
export async function openBackupKeys(identityDir: string): Promise<OpenedBackupKeys> {
  try {
    return { keys: await loadOrCreateBackupKeys(identityDir), damage: undefined };
  } catch (thrown) {
    if (thrown instanceof PlexiError) return { keys: undefined, damage: thrown };
    throw thrown;
  }
}

/** For what makes or opens a backup. @throws PlexiError BACKUP_INVALID when the keys cannot be used */
export function usableKeys({ keys, damage }: OpenedBackupKeys): BackupKeys {
  if (damage !== undefined) throw damage;
  return keys;
}

/** Why a key that is there cannot be used; undefined when none is damaged. Writes nothing. */
export async function backupKeyDamage(identityDir: string): Promise<PlexiError | undefined> {
  const parsers = { [AGE_KEY_FILE]: parseAgeKey, [SIGNING_KEY_FILE]: parseSigningKey };
  try {
    for (const [name, parse] of Object.entries(parsers)) {
      const file = join(identityDir, name);
      const text = await readKey(file);
      if (text !== undefined) await understand<unknown>(file, () => parse(text));
    }
    return undefined;
  } catch (thrown) {
    return asPlexiError(thrown, 'BACKUP_INVALID', `the backup keys in ${identityDir} cannot be read`);
  }
}

async function readKey(file: string): Promise<string | undefined> {
  try {
    return (await readBounded(file, limits.backupKeyBytes))?.toString('utf8');
  } catch (error) {
    throw unreadable(file, error);
  }
}

/** Writes a new key. When another start of the agent was faster, its key is the one. */
async function createKey(file: string, text: string): Promise<string> {
  try {
    await createDurably(file, text, { mode: 0o600 });
    return text;
  } catch (error) {
    if (!isSystemError(error, 'EEXIST')) throw error;
    return (await readKey(file)) ?? text;
  }
}

async function newAgeKey(): Promise<string> {
  const identity = await generateX25519Identity();
  return `# public key: ${await identityToRecipient(identity)}\n${identity}\n`;
}

function newSigningKey(): string {
  return generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
}

async function parseAgeKey(text: string): Promise<Pick<BackupKeys, 'ageIdentity' | 'ageRecipient'>> {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  const [ageIdentity, ...others] = lines;
  if (ageIdentity === undefined || others.length > 0) throw new Error('it must hold exactly one key');
  return { ageIdentity, ageRecipient: await identityToRecipient(ageIdentity) };
}

function parseSigningKey(text: string): KeyObject {
  const key = createPrivateKey(text);
  if (key.asymmetricKeyType !== 'ed25519') throw new Error('it is no ed25519 key');
  return key;
}

async function understand<T>(file: string, parse: () => T | Promise<T>): Promise<T> {
  try {
    return await parse();
  } catch (error) {
    throw unreadable(file, error);
  }
}

function unreadable(file: string, error: unknown): PlexiError {
  const why = error instanceof Error ? error.message : String(error);
  return new PlexiError(
    'BACKUP_INVALID',
    `the backup key ${file} cannot be used (${why}); put the right file back, or move it away to begin with a new key, which cannot open the backups made so far; then start plexi-node-agent again`,
    { cause: error, details: { file } },
  );
}
