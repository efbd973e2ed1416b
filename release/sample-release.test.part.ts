/** A small manifest, and real source folders, for the tests of releases. */
import { createHash } from 'node:crypto';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { treeDigest } from './manifest.js';
import type { ReleaseFile, ReleaseManifest, ReleaseMigration } from './manifest-shape.js';

/** SHA-256 in hexadecimal digits. */
export function sha256(bytes: Uint8Array | string): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** A manifest that is right in every way. */
export function sampleManifest(version = '0b1', migrations: ReleaseMigration[] = []): ReleaseManifest {
  const files: ReleaseFile[] = [
    { path: 'bin/serve', mode: 0o755, sizeBytes: 3, sha256: sha256('one') },
    { path: 'VERSION.txt', mode: 0o644, sizeBytes: 4, sha256: sha256(`${version}\n`) },
  ];
  const artifact = {
    ...{
      os: 'any',
      arch: 'any',
      file: `chat-${version}-any-any.tar.gz`,
      sizeBytes: 100,
      sha256: sha256('archive'),
    },
    ...{ unpackedBytes: 7, treeDigest: treeDigest(files), files },
  };
  return {
    ...{ schema: 1, name: 'chat', version, createdAt: '2024-12-19T12:00:00.000Z', sourceCommit: null },
    ...{ artifacts: [artifact], migrations, tests: [] },
    service: { start: ['node', 'server.mjs'], env: {}, stopSignal: 'SIGTERM' },
  };
}

/** A migration whose checksum is made of its id and a salt. */
export function sampleMigration(id: string, salt = ''): ReleaseMigration {
  const commands = { up: ['node', `${id}.mjs`, 'up'], down: ['node', `${id}.mjs`, 'down'] };
  return { id, scope: 'node', ...commands, checksum: sha256(id + salt), timeoutMs: 60_000 };
}

/** Writes files below a folder; a name that begins with `bin/` becomes executable. */
export async function writeTree(folder: string, files: Record<string, string | Buffer>): Promise<string> {
  for (const [path, contents] of Object.entries(files)) {
    const file = join(folder, path);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, contents);
    await chmod(file, path.startsWith('bin/') ? 0o755 : 0o644);
  }
  return folder;
}

/** The source of a release that can be built. */
export function sampleSource(
  version: string,
  more: Record<string, string | Buffer> = {},
): Record<string, string | Buffer> {
  return {
    'release.yml': 'name: chat\nservice:\n  start: [node, server.mjs]\n',
    'VERSION.txt': `${version}\n`,
    'server.mjs': `console.log('${version}');\n`,
    'bin/serve': '#!/bin/sh\n',
    ...more,
  };
}
