/**
 * What still runs from the folder of a release, be it a service that nobody knows any more. Invariant: in doubt
 * something runs. A process of another user shows its command line alone, which is looked at, too.
 */
import { readFile, readlink, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { allPids } from './process-table.js';

/** Those of the folders under `releases` that a live process has its program, its folder or a word in. */
export async function foldersInUse(releases: string, folders: readonly string[]): Promise<Set<string>> {
  const parents = [...new Set([releases, await realpath(releases)])];
  const inUse = new Set<string>();
  for (const pid of allPids()) {
    const text = await textOf(pid);
    for (const folder of folders)
      if (parents.some((parent) => names(text, join(parent, folder)))) inUse.add(folder);
  }
  return inUse;
}

/** All that says where a process runs, its environment included: it holds PLEXI_RELEASE_DIR. */
async function textOf(pid: number): Promise<string> {
  const place = `/proc/${pid}`;
  const parts = await Promise.all([
    readlink(`${place}/exe`).catch(nothing),
    readlink(`${place}/cwd`).catch(nothing),
    readFile(`${place}/cmdline`, 'latin1').catch(nothing),
    readFile(`${place}/environ`, 'latin1').catch(nothing),
  ]);
  return `${parts.join('\0')}\0`;
}

/** It has ended meanwhile, or belongs to another user. */
function nothing(): string {
  return '';
}

/** Whether the path itself, or something in it, stands in the text: with `-2` behind it, it is another folder. */
function names(text: string, path: string): boolean {
  const [, ...behind] = text.split(Buffer.from(path).toString('latin1'));
  return behind.some((rest) => !/^[-\w.+]/.test(rest));
}
