/**
 * Releases whose service and migration are shell scripts: a start costs 2 ms and not 50, so that a try of
 * the crash harnesses is short. The service does not start on data of another format. 0b1 and 0b2 migrate
 * the data, with plain writes that nobody flushes, as a release's own program does; 0b2 is never healthy.
 */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TinyReleases, TinyVersion } from '../../node-agent/tiny-service.test.part.js';
import { buildRelease } from '../../release/repository/publish.js';

/** The data of a format: every file with its content. */
export function dataOf(format: 1 | 2): Record<string, string> {
  const notes = `format ${format}\n${'a note\n'.repeat(2_000)}`;
  return format === 1 ? { notes } : { notes, 'sub/migrated': 'by 001-format\n' };
}

function service(version: string, format: number): string {
  return `read -r word format < "$PLEXI_DATA_DIR/notes"
[ "$format" = ${format} ] || { echo "data of format $format is not for ${version}" >&2; exit 1; }
echo ${version === '0b2' ? 'sick' : version} > "$PLEXI_RUN_DIR/serving"
exec sleep 86400
`;
}

const migration = `set -e
cd "$PLEXI_DATA_DIR"
read -r word format < notes
[ "$format" = 1 ] || { echo migrated twice >&2; exit 1; }
mkdir sub
echo 'by 001-format' > sub/migrated
{ echo 'format 2'; tail -n +2 notes; } > notes.new
mv notes.new notes
`;

/** Says of the service what a command probe asks. */
export const probe = ['sh', '-c', '[ "$(cat "$PLEXI_RUN_DIR/serving")" = "$PLEXI_EXPECTED_VERSION" ]'];

/** Builds the releases into `<folder>/repository`. */
export async function buildSmallReleases(
  folder: string,
): Promise<{ repository: string; releases: TinyReleases }> {
  const repository = join(folder, 'repository');
  const make = async (version: TinyVersion) => {
    const from = join(folder, 'source', version);
    await mkdir(from, { recursive: true });
    const migrates = version !== '0a1';
    await writeFile(join(from, 'service.sh'), service(version, migrates ? 2 : 1));
    if (migrates) await writeFile(join(from, 'migrate.sh'), migration);
    const migrations = migrates
      ? `migrations:\n  - {id: 001-format, scope: node, up: [sh, migrate.sh], down: ['false'], timeout_seconds: 60}\n`
      : '';
    await writeFile(
      join(from, 'release.yml'),
      `name: small\nservice:\n  start: [sh, service.sh]\n${migrations}`,
    );
    return buildRelease({ version, from, repository, allowDirty: true });
  };
  const releases = { '0a1': await make('0a1'), '0b1': await make('0b1'), '0b2': await make('0b2') };
  return { repository, releases };
}
