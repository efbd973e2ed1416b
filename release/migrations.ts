/**
 * Which migrations lead from one release to another. A release carries all migrations ever made, in
 * order, so the way between two releases is the difference of their lists: forward what is new, in
 * order; back what the newer one has beyond the older one, in reverse, with the newer one's down
 * commands (design decision 14). Invariant: an id means the same change in every release.
 */
import { createHash } from 'node:crypto';
import { PlexiError } from '../config/errors.js';
import type { ReleaseFile, ReleaseManifest, ReleaseMigration } from './manifest-shape.js';

/** One migration to run, in one direction. */
export interface MigrationStep {
  id: string;
  checksum: string;
  direction: 'up' | 'down';
}

/**
 * The steps from one release to another, in the order to run them; undefined stands for a node
 * without a release. RELEASE_INVALID when an id has two meanings.
 */
export function migrationsBetween(
  from: ReleaseManifest | undefined,
  to: ReleaseManifest | undefined,
  direction: 'forward' | 'back',
): MigrationStep[] {
  if (from !== undefined && to !== undefined) assertSameMeaning(from, to);
  if (direction === 'forward') return beyond(to, from).map((it) => step(it, 'up'));
  return beyond(from, to)
    .map((it) => step(it, 'down'))
    .reverse();
}

function beyond(more: ReleaseManifest | undefined, less: ReleaseManifest | undefined): ReleaseMigration[] {
  const known = new Set(less?.migrations.map(({ id }) => id));
  return (more?.migrations ?? []).filter(({ id }) => !known.has(id));
}

function step(migration: ReleaseMigration, direction: 'up' | 'down'): MigrationStep {
  return { id: migration.id, checksum: migration.checksum, direction };
}

function assertSameMeaning(a: ReleaseManifest, b: ReleaseManifest): void {
  const checksums = new Map(a.migrations.map(({ id, checksum }) => [id, checksum]));
  for (const { id, checksum } of b.migrations) {
    const other = checksums.get(id);
    if (other === undefined || other === checksum) continue;
    throw new PlexiError(
      'RELEASE_INVALID',
      `The migration "${id}" of ${b.version} is not the one of ${a.version}: their checksums differ; ` +
        'a migration never changes once released, so give the new one a new id.',
      { details: { migration: id, [a.version]: other, [b.version]: checksum } },
    );
  }
}

/**
 * SHA-256 (hex) over what a migration does: id, scope, its commands, and the contents of each file of
 * the release that a word of the commands names. Without a check it is what it was before there were
 * checks.
 */
export function migrationChecksum(
  migration: Pick<ReleaseMigration, 'id' | 'scope' | 'up' | 'down' | 'check'>,
  files: readonly ReleaseFile[],
): string {
  const digests = new Map(files.map(({ path, sha256 }) => [path, sha256]));
  const check = migration.check ?? [];
  const commands = [...migration.up, ...migration.down, ...check];
  const words = new Set(commands.map((word) => word.replace(/^(?:\.\/)+/, '')));
  const named = [...words].filter((word) => digests.has(word)).sort();
  const meaning = [
    ...[migration.id, migration.scope, migration.up, migration.down],
    named.map((path) => [path, digests.get(path)]),
    ...(migration.check === undefined ? [] : [check]),
  ];
  return createHash('sha256').update(JSON.stringify(meaning)).digest('hex');
}
