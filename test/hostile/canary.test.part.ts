/** Everything beside the place that may be written to, as it was: a canary for what writes outside. */
import assert from 'node:assert/strict';
import { lstat, readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';

export class Canary {
  private constructor(
    private readonly folder: string,
    private readonly allowed: readonly string[],
    private readonly before: readonly string[],
  ) {}

  /** @param allowed names in the folder that may change */
  static async set(folder: string, allowed: readonly string[]): Promise<Canary> {
    return new Canary(folder, allowed, await told(folder, allowed));
  }

  /** Fails when anything outside was made, removed or changed. */
  async check(): Promise<void> {
    assert.deepEqual(await told(this.folder, this.allowed), this.before);
  }
}

/** A line for each thing in a folder: its path, kind, mode, and content or target. */
async function told(folder: string, allowed: readonly string[], below = ''): Promise<string[]> {
  const lines: string[] = [];
  for (const name of (await readdir(join(folder, below))).sort()) {
    const path = join(below, name);
    if (allowed.includes(path)) continue;
    const facts = await lstat(join(folder, path));
    const mode = (facts.mode & 0o7777).toString(8);
    if (facts.isDirectory()) lines.push(`${path}/ ${mode}`, ...(await told(folder, allowed, path)));
    else if (facts.isSymbolicLink()) lines.push(`${path} -> ${await readlink(join(folder, path))}`);
    else if (facts.isFile()) lines.push(`${path} ${mode} ${await readFile(join(folder, path), 'base64')}`);
    else lines.push(`${path} is of another kind`);
  }
  return lines;
}
