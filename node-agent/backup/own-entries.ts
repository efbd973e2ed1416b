/**
 * What an agent that is not root can bring back: a file of its own user, of a group that it is in. Anything
 * else is refused before a service is stopped for it, because a restore would find out in the middle of the
 * way back, where nothing is left to turn to.
 */
import type { BigIntStats } from 'node:fs';
import { constants, open } from 'node:fs/promises';
import { isSystemError } from '../disk/system-error.js';

/** Why a restore by this process could not give an entry its owner again; undefined when it can. */
export function whyNotGivenBack({ uid, gid }: Pick<BigIntStats, 'uid' | 'gid'>): string | undefined {
  const user = process.geteuid?.();
  if (user === undefined || user === 0) return undefined;
  if (Number(uid) !== user)
    return `belongs to user ${uid}, and an agent that runs as user ${user} could not restore it; run agent and service as the same user, or the agent as root`;
  const groups = [process.getegid?.(), ...(process.getgroups?.() ?? [])];
  if (groups.includes(Number(gid))) return undefined;
  return `belongs to group ${gid}, which the agent's user ${user} is not in, so it could not be restored; give it another group, or put that user into this one`;
}

/** Why this process cannot read a file or list a folder, which a backup must; undefined when it can, or when it is gone. */
export async function whyNotRead(path: string): Promise<string | undefined> {
  const user = process.geteuid?.();
  if (user === 0) return undefined;
  try {
    await (await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)).close();
    return undefined;
  } catch (thrown) {
    if (isSystemError(thrown, 'EACCES'))
      return `cannot be read by user ${user}, as which the agent runs; give it the right to read it`;
    // Something else stands there meanwhile, or nothing.
    if (['ENOENT', 'ELOOP', 'ENXIO'].some((code) => isSystemError(thrown, code))) return undefined;
    throw thrown;
  }
}
