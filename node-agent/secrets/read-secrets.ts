/**
 * Reads the secrets of a node at the moment a program needs them, so that one that was changed on the
 * disk counts at once. Invariant: what is given out came from a regular file that only root or the
 * agent's own user may read; no sentence here ever holds a part of a value.
 */
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { asPlexiError, PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import type { SecretsConfig } from '../../config/schema/secrets.js';

/** One secret, for one run of one program. */
export interface Secret {
  /** The name of its variable. */
  readonly name: string;
  /** Without the line's end that an editor puts behind it. */
  readonly value: Buffer;
  readonly as: 'environment' | 'descriptor';
}

/** Reads all secrets. Errors: SECRET_UNREADABLE for the first that cannot be used. */
export async function readSecrets(config: SecretsConfig): Promise<Secret[]> {
  const secrets: Secret[] = [];
  for (const [name, { file, as }] of Object.entries(config)) secrets.push(await readSecret(name, file, as));
  return secrets;
}

/** Every secret that cannot be used, each with its sentence; empty when all can. */
export async function secretProblems(config: SecretsConfig): Promise<PlexiError[]> {
  const read = Object.entries(config).map(([name, { file, as }]) => readSecret(name, file, as));
  const results = await Promise.allSettled(read);
  return results.flatMap((result) =>
    result.status === 'rejected' ? [asPlexiError(result.reason, 'SECRET_UNREADABLE', 'a secret')] : [],
  );
}

async function readSecret(name: string, file: string, as: Secret['as']): Promise<Secret> {
  const bytes = await readGuarded(name, file);
  const value = withoutLineEnd(bytes);
  if (value.length === 0) throw unreadable(name, `${file} is empty; write the secret into it`);
  if (as === 'environment' && !isVariableText(value)) {
    throw unreadable(name, `${file} holds what no variable can hold; give it with as: descriptor`);
  }
  return { name, value, as };
}

/** The file's bytes, once it is seen that nobody else can read it. */
async function readGuarded(name: string, file: string): Promise<Buffer> {
  const handle = await openFile(name, file);
  try {
    const facts = await handle.stat();
    if (!facts.isFile()) throw unreadable(name, `${file} is no regular file; put the secret into one`);
    const own = process.getuid?.() ?? 0;
    if (facts.uid !== 0 && facts.uid !== own) {
      throw unreadable(name, `${file} belongs to user ${facts.uid}; give it to root: chown root ${file}`);
    }
    if ((facts.mode & 0o077) !== 0) {
      throw unreadable(name, `others may read or change ${file}; take that from them: chmod 600 ${file}`);
    }
    if (facts.size > limits.secretBytes) {
      throw unreadable(name, `${file} has more than ${limits.secretBytes} bytes; a secret must be shorter`);
    }
    const buffer = Buffer.alloc(limits.secretBytes + 1);
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, 0);
    if (bytesRead > limits.secretBytes) throw unreadable(name, `${file} grew while it was read; try again`);
    return buffer.subarray(0, bytesRead);
  } finally {
    await handle.close();
  }
}

async function openFile(name: string, file: string): Promise<FileHandle> {
  try {
    // A pipe in the file's place would hold up whoever opens it.
    return await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (thrown) {
    const why = thrown instanceof Error ? thrown.message : String(thrown);
    throw unreadable(
      name,
      `${file} cannot be opened (${why}); write the secret there, with mode 600`,
      thrown,
    );
  }
}

function withoutLineEnd(bytes: Buffer): Buffer {
  const text = bytes.at(-1) === 0x0a ? bytes.subarray(0, -1) : bytes;
  return text.at(-1) === 0x0d && text !== bytes ? text.subarray(0, -1) : text;
}

/** Text in UTF-8 without NUL: what the environment of a process can hold unchanged. */
function isVariableText(value: Buffer): boolean {
  return !value.includes(0) && Buffer.from(value.toString('utf8')).equals(value);
}

function unreadable(name: string, why: string, cause?: unknown): PlexiError {
  return new PlexiError('SECRET_UNREADABLE', `the secret ${name} cannot be used: ${why}`, { cause });
}
