/**
 * Who this installation of the agent is: a random id, made once with the agent's folder, and a count
 * of its starts. A second installation under the same node name is thereby told from the first.
 */
import { join } from 'node:path';
import { z } from 'zod';
import { PlexiError } from '../config/errors.js';
import { limits } from '../config/limits.js';
import { readBounded, writeDurably } from './disk/durable-file.js';

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

/** Whether this root was installed before. */
export async function hasInstallIdentity(identityDir: string): Promise<boolean> {
  return (await readBounded(join(identityDir, 'install.json'), limits.journalRecordBytes)) !== undefined;
}

/** The identity as it stands there; undefined: never installed. @throws PlexiError CONFIG_INVALID */
export async function readInstallIdentity(identityDir: string): Promise<InstallIdentity | undefined> {
  const file = join(identityDir, 'install.json');
  const bytes = await readBounded(file, limits.journalRecordBytes);
  return bytes === undefined ? undefined : parseInstall(file, bytes);
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
  await writeDurably(join(identityDir, 'install.json'), bytes, { mode: 0o600 });
}

function parseInstall(file: string, bytes: Uint8Array): z.infer<typeof installFile> {
  try {
    return installFile.parse(JSON.parse(Buffer.from(bytes).toString('utf8')));
  } catch (cause) {
    throw new PlexiError(
      'CONFIG_INVALID',
      `${file} cannot be read; restore that file, or say plexi-node-agent restore on the node, which makes a new one`,
      { cause },
    );
  }
}
