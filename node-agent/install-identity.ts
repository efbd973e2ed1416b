/**
 * Who this installation of the agent is: a random id, made once with the agent's folder, and a count
 * of its starts. A second installation under the same node name is thereby told from the first.
 */
import { join } from 'node:path';
import { z } from 'zod';
import { PlexiError } from '../config/errors.js';
import { limits } from '../config/limits.js';
import { readBounded, writeDurably } from './disk/durable-file.js';
import { triedAgain } from './disk/refusal.js';

export interface InstallIdentity {
  readonly installId: string;
  /** Counts the starts of the agent, from 1. */
  readonly starts: number;
}

const installFile = z.object({
  schema: z.literal(1),
  installId: z.string().min(1),
  starts: z.number().int().min(1),
});

/** The file that holds the identity. */
export function identityFile(identityDir: string): string {
  return join(identityDir, 'install.json');
}

/** Whether this root has an identity, be it one that cannot be read. */
export async function hasInstallIdentity(identityDir: string): Promise<boolean> {
  return (await readInstallIdentity(identityDir).catch(() => 'unreadable')) !== undefined;
}

/** The identity as it stands there; undefined: there is none. @throws PlexiError CONFIG_INVALID */
export async function readInstallIdentity(identityDir: string): Promise<InstallIdentity | undefined> {
  const file = identityFile(identityDir);
  try {
    const bytes = await readBounded(file, limits.journalRecordBytes);
    return bytes === undefined ? undefined : parseInstall(bytes);
  } catch (cause) {
    throw new PlexiError(
      'CONFIG_INVALID',
      `${file} cannot be read; restore that file, or say plexi-node-agent restore on the node, which makes a new one`,
      { cause },
    );
  }
}

/** Gives this root a new identity, by an operator's word: controllers see another installation. */
export async function renewInstallIdentity(identityDir: string, newId: () => string): Promise<void> {
  await write(identityDir, { installId: newId(), starts: 1 });
}

/** Reads the identity and counts this start, durably. @throws PlexiError CONFIG_INVALID when it cannot be read */
export async function openInstallIdentity(
  identityDir: string,
  newId: () => string,
): Promise<InstallIdentity> {
  const before = await readInstallIdentity(identityDir);
  const identity = { installId: before?.installId ?? newId(), starts: (before?.starts ?? 0) + 1 };
  await write(identityDir, identity);
  return identity;
}

async function write(identityDir: string, identity: InstallIdentity): Promise<void> {
  const bytes = Buffer.from(`${JSON.stringify({ schema: 1, ...identity })}\n`);
  await triedAgain(() => writeDurably(identityFile(identityDir), bytes, { mode: 0o600 }));
}

function parseInstall(bytes: Uint8Array): InstallIdentity {
  return installFile.parse(JSON.parse(Buffer.from(bytes).toString('utf8')));
}
