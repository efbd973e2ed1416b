/** For tests in which the permissions of a folder stand for a disk that refuses: root would pass them by. */
import { chownSync } from 'node:fs';

/** Does something as a user to whom permissions apply; the folders are made that user's. */
export async function asPlainUser(folders: readonly string[], work: () => Promise<void>): Promise<void> {
  const nobody = 65_534;
  if (process.geteuid?.() !== 0) return work();
  for (const path of folders) chownSync(path, nobody, nobody);
  process.seteuid?.(nobody);
  try {
    await work();
  } finally {
    process.seteuid?.(0);
  }
}
