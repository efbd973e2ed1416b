/**
 * agent/quarantine/: where state goes that cannot be read, by an operator's word and by nothing else.
 * Nothing is ever removed from there by the agent: what a disk or a person has damaged may still tell
 * somebody what had happened.
 */
import { linkSync } from 'node:fs';
import { lstat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { moveDurably, syncFolder } from './durable-file.js';
import { isSystemError } from './system-error.js';
import { timeInName } from './time-in-name.js';

/**
 * Keeps what has this name in the quarantine, under a name that tells when. A file stays where it is, so
 * that its replacement leaves no gap; anything else is moved. Nothing there is no error.
 * @returns the name in the quarantine; undefined when there was nothing. Errors: the system's
 */
export async function setAside(quarantine: string, path: string, at: Date): Promise<string | undefined> {
  let isFile: boolean;
  try {
    isFile = (await lstat(path)).isFile();
  } catch (thrown) {
    if (isSystemError(thrown, 'ENOENT')) return undefined;
    throw thrown;
  }
  const name = await freeName(quarantine, `${timeInName(at)}-${basename(path)}`);
  if (isFile) {
    linkSync(path, join(quarantine, name));
    await syncFolder(quarantine);
  } else await moveDurably(path, join(quarantine, name));
  return name;
}

async function freeName(folder: string, wanted: string): Promise<string> {
  for (let copy = 1; ; copy++) {
    const name = copy === 1 ? wanted : `${wanted}-${copy}`;
    try {
      await lstat(join(folder, name));
    } catch (thrown) {
      if (isSystemError(thrown, 'ENOENT')) return name;
      throw thrown;
    }
  }
}
