/**
 * The releases of the repository, as a plan needs them: which version is meant, what it has for each
 * platform, which migrations lead there from what nodes run now, and whether they can be run at all.
 */
import { PlexiError } from '../../config/errors.js';
import type { ControllerConfig } from '../../config/schema/controller.js';
import { artifactFor, migrationsBetween, type ReleaseManifest } from '../../release/manifest.js';
import type { ReleaseRepository } from '../../release/repository/fetch.js';
import { NONE, type VersionScheme, versionScheme } from '../../release/version.js';
import type { TargetFacts } from '../rollout/plan-inputs.js';
import type { ReleaseRef } from '../rollout/rollout.js';

/** The canonical version that is meant by a version, by `latest` or by `stable`. */
export async function resolveTarget(
  { repository, config }: { repository: ReleaseRepository; config: ControllerConfig },
  wanted: string,
): Promise<string> {
  const scheme = versionScheme(config.versionScheme);
  if (wanted !== 'latest' && wanted !== 'stable') return scheme.parse(wanted).canonical;
  const versions = (await repository.list())
    .map((entry) => scheme.parse(entry.version))
    .filter((version) => wanted === 'latest' || version.stable);
  const newest = versions.sort((a, b) => scheme.compare(b, a))[0];
  if (newest === undefined)
    throw new PlexiError(
      'RELEASE_NOT_FOUND',
      `the repository has no ${wanted === 'stable' ? 'stable ' : ''}release; add one with plexictl release build`,
    );
  return newest.canonical;
}

/** The manifests that the repository has; a version from before the repository has none, and no migrations. */
export async function manifestsOf(
  repository: ReleaseRepository,
  versions: readonly string[],
): Promise<Map<string, ReleaseManifest>> {
  const found = new Map<string, ReleaseManifest>();
  const listed = new Set((await repository.list()).map((entry) => entry.version));
  for (const version of new Set(versions)) {
    if (listed.has(version)) found.set(version, (await repository.manifest(version)).manifest);
  }
  return found;
}

/** @param manifests the releases that nodes run now, as far as the repository has them */
export function targetFacts(
  manifest: ReleaseManifest,
  manifestSha256: string,
  manifests: ReadonlyMap<string, ReleaseManifest>,
  scheme: VersionScheme,
): TargetFacts {
  return {
    version: manifest.version,
    manifestSha256,
    artifactFor(os, arch) {
      const artifact = artifactFor(manifest, os, arch);
      return (
        artifact && {
          artifactSha256: artifact.sha256,
          digest: artifact.treeDigest,
          unpackedBytes: artifact.unpackedBytes,
        }
      );
    },
    migrationsFrom(version) {
      const current = manifests.get(version);
      return migrationsOnTheWay(version, current, manifest, scheme).filter((step) =>
        isNodeScope(step.id, manifest, current),
      );
    },
    oneWay: manifest.migrations
      .filter((migration) => migration.down.length === 0)
      .map((migration) => migration.id),
  };
}

/**
 * A release that the repository does not have in this form, but nodes do: one that was taken over, or
 * confirmed. It is not staged again; the node proves that it is whole. Its migrations are those of its
 * version; of a version from before the repository none is known, so going back to it runs the way down
 * of all that came since.
 */
export function localTarget(
  release: ReleaseRef,
  manifests: ReadonlyMap<string, ReleaseManifest>,
  scheme: VersionScheme,
): TargetFacts {
  return {
    version: release.version,
    manifestSha256: '',
    artifactFor: () => ({ artifactSha256: '', digest: release.digest, unpackedBytes: 0 }),
    migrationsFrom(version) {
      const current = manifests.get(version);
      const own = manifests.get(release.version);
      const way =
        own === undefined
          ? migrationsBetween(undefined, current, 'forward')
              .map((step) => ({ ...step, direction: 'down' as const }))
              .reverse()
          : migrationsOnTheWay(version, current, own, scheme);
      return way.filter((step) => isNodeScope(step.id, own, current));
    },
    oneWay: [],
  };
}

/** Up when the target is newer than what runs, down when it is older: the versions say it, not the command. */
function migrationsOnTheWay(
  version: string,
  current: ReleaseManifest | undefined,
  target: ReleaseManifest,
  scheme: VersionScheme,
) {
  if (version === NONE || version === '') return migrationsBetween(undefined, target, 'forward');
  if (scheme.compare(scheme.parse(target.version), scheme.parse(version)) >= 0) {
    return migrationsBetween(current, target, 'forward');
  }
  if (current === undefined) {
    throw new PlexiError(
      'RELEASE_NOT_FOUND',
      `going back from ${version} needs its down-migrations, and the repository does not have ${version}`,
    );
  }
  return migrationsBetween(current, target, 'back');
}

function isNodeScope(id: string, ...manifests: readonly (ReleaseManifest | undefined)[]): boolean {
  return manifests.some((manifest) =>
    manifest?.migrations.some((migration) => migration.id === id && migration.scope === 'node'),
  );
}

/** A migration of the whole cluster that would have to run is a problem: only node-local ones are run. */
export function clusterMigrations(target: ReleaseManifest, running: readonly ReleaseManifest[]): string[] {
  const known = new Set(running.flatMap((manifest) => manifest.migrations.map((migration) => migration.id)));
  const wanted = new Set(target.migrations.map((migration) => migration.id));
  return [target, ...running]
    .flatMap((manifest) => manifest.migrations)
    .filter(
      (migration) => migration.scope === 'cluster' && known.has(migration.id) !== wanted.has(migration.id),
    )
    .map(
      (migration) =>
        `migration ${migration.id} is for the whole cluster, and only migrations of a node's own data are run`,
    );
}

/**
 * What can be seen of a release's migrations before any node is touched: a program of theirs that lies
 * in the release must be in every archive of it, and be executable.
 */
export function migrationProblems({ version, migrations, artifacts }: ReleaseManifest): string[] {
  return migrations
    .filter((migration) => migration.scope === 'node')
    .flatMap(({ id, up, down }) => [
      { id, direction: 'up', program: up[0] },
      { id, direction: 'down', program: down[0] },
    ])
    .filter(({ program }) => program !== undefined && isInRelease(program))
    .flatMap(({ id, direction, program = '' }) =>
      artifacts.flatMap((artifact) => {
        const path = program.replace(/^\.\//, '');
        const file = artifact.files.find((candidate) => candidate.path === path);
        const where = `migration ${id} of ${version} (${direction}) for ${artifact.os}/${artifact.arch}`;
        if (file === undefined) return [`${where} names ${program}, which is not in the release`];
        return (file.mode & 0o100) === 0 ? [`${where} names ${program}, which is not executable`] : [];
      }),
    );
}

/** A program with a path that is not absolute is taken from the release's own folder. */
function isInRelease(program: string): boolean {
  return program.includes('/') && !program.startsWith('/');
}
