/**
 * The release repository of a dev cluster: four versions of the sample service, built as an operator
 * would build them. 0a1 is what new nodes run; 0b1 and 0r1 are good; 0b2 never gets healthy.
 */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { buildRelease } from '../../release/repository/publish.js';
import { versionScheme } from '../../release/version.js';
import { assembleProgram } from './installation.js';
import type { Layout } from './layout.js';

const versions = ['0a1', '0b1', '0r1', '0b2'] as const;

/** Builds the versions that the repository lacks. */
export async function buildReleases(layout: Layout): Promise<void> {
  const absent = versions.filter((version) => !existsSync(join(layout.releases, version, 'manifest.json')));
  if (absent.length === 0) return;
  const scheme = versionScheme('plexi');
  const work = await mkdtemp(join(tmpdir(), 'plexi-dev-releases-'));
  try {
    for (const version of absent) {
      const from = join(work, version);
      await promisify(execFile)(process.execPath, [assembleProgram, version, from]);
      await buildRelease({
        version,
        from,
        repository: layout.releases,
        allowDirty: true,
        scheme,
        now: new Date(),
      });
    }
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
