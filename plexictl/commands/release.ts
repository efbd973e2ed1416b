/**
 * `plexictl release build|list`: the release repository, as a folder or behind a URL. Needs no
 * controller. Invariant: a version is a text from the option to the manifest; `0b1` never becomes a
 * number, and what a repository says of itself is printed only after it was read as a manifest.
 */
import type { Command } from 'commander';
import { PlexiError } from '../../config/errors.js';
import type { ReleaseManifest } from '../../release/manifest.js';
import type { BuiltRelease } from '../../release/repository/publish.js';
import { versionScheme } from '../../release/version.js';
import { type CliContext, withOutput } from '../context.js';
import { table } from '../render/table.js';

/** All that these commands need of the world: somewhere to answer. */
type Answers = Pick<CliContext, 'show'>;

/** Adds the commands under `release`. */
export function registerRelease(program: Command, context: Answers): void {
  const release = program
    .command('release')
    .summary('the release repository')
    .description('Build releases into a repository, and look into one. Needs no controller.')
    .addHelpText('after', '\nExample:\n  plexictl release list --repository releases');
  registerBuild(release, context);
  registerList(release, context);
}

interface BuildWords {
  version: string;
  from: string;
  repository: string;
  platform?: string;
  allowDirty?: boolean;
}

function registerBuild(release: Command, context: Answers): void {
  withOutput(
    release
      .command('build')
      .summary('build a release and publish it')
      .description('Build a release from a folder with a release.yml, and publish it in the repository.')
      .addHelpText(
        'after',
        '\nExample:\n  plexictl release build --version 0b1 --from chat-0b1 --repository releases',
      )
      .requiredOption('--version <version>', 'version of the release, for example 0b1')
      .requiredOption('--from <dir>', 'folder of the release, with its release.yml')
      .requiredOption('--repository <dir>', 'folder of the release repository; made when it is missing')
      .option('--platform <os/arch>', 'machines it is for, for example linux/x64 (default: any)')
      .option('--allow-dirty', 'build also when git knows of changes in the folder'),
  ).action(async (words: BuildWords) => {
    const { version, from, repository, platform, allowDirty = false } = words;
    // Loaded here, since no other word needs it.
    const { buildRelease } = await import('../../release/repository/publish.js');
    const built = await buildRelease({
      ...{ version, from, repository, allowDirty },
      ...(platform === undefined ? {} : { platform: platformOf(platform) }),
    });
    context.show({ release: documentOfBuilt(built) }, () => textOfBuilt(built, repository));
  });
}

function registerList(release: Command, context: Answers): void {
  withOutput(
    release
      .command('list')
      .summary('which releases a repository has')
      .description('Say which releases a repository has, with their platforms and migrations.')
      .addHelpText(
        'after',
        '\nExample:\n  plexictl release list --repository https://releases.example.net/chat',
      )
      .requiredOption('--repository <dir-or-url>', 'folder or http(s) URL of the release repository'),
  ).action(async ({ repository }: { repository: string }) => {
    const { openRepository } = await import('../../release/repository/fetch.js');
    const opened = openRepository(repository);
    const manifests: ReleaseManifest[] = [];
    for (const { version } of await opened.list()) manifests.push((await opened.manifest(version)).manifest);
    const releases = sortedByVersion(manifests).map(documentOf);
    context.show({ releases }, () => textOfList(releases, repository));
  });
}

/** `os/arch` as Node names them. */
function platformOf(text: string): { os: string; arch: string } {
  const [, os, arch] = /^([a-z0-9]{1,32})\/([a-z0-9]{1,32})$/.exec(text) ?? [];
  if (os !== undefined && arch !== undefined) return { os, arch };
  throw new PlexiError(
    'USAGE',
    `--platform: "${text}" is no platform; write os/arch, for example linux/x64 or any/any`,
  );
}

/** The plexi scheme orders semantic versions too, so one order serves every repository. */
function sortedByVersion(manifests: readonly ReleaseManifest[]): ReleaseManifest[] {
  const scheme = versionScheme('plexi');
  return [...manifests].sort((a, b) => scheme.compare(scheme.parse(a.version), scheme.parse(b.version)));
}

interface ReleaseDocument {
  version: string;
  createdAt: string;
  sourceCommit: string | null;
  platforms: string[];
  migrations: string[];
}

function documentOf(manifest: ReleaseManifest): ReleaseDocument {
  const { version, createdAt, sourceCommit, artifacts, migrations } = manifest;
  return {
    ...{ version, createdAt, sourceCommit },
    platforms: artifacts.map(({ os, arch }) => `${os}/${arch}`),
    migrations: migrations.map(({ id }) => id),
  };
}

function textOfList(releases: readonly ReleaseDocument[], repository: string): string {
  if (releases.length === 0) return `no releases in ${repository}`;
  const columns = ['VERSION', 'BUILT', 'COMMIT', 'PLATFORMS', 'MIGRATIONS'].map((heading) => ({ heading }));
  return table(
    columns,
    releases.map(({ version, createdAt, sourceCommit, platforms, migrations }) => [
      ...[version, createdAt.slice(0, 16).replace('T', ' ')],
      ...[
        sourceCommit === null ? '-' : shortCommit(sourceCommit),
        platforms.join(' '),
        migrations.join(' ') || '-',
      ],
    ]),
  );
}

function documentOfBuilt({ manifest, manifestSha256, artifact, already }: BuiltRelease): object {
  const { file, sizeBytes, sha256, treeDigest, files } = artifact;
  return {
    ...documentOf(manifest),
    archive: {
      file,
      platform: `${artifact.os}/${artifact.arch}`,
      sizeBytes,
      sha256,
      treeDigest,
      files: files.length,
    },
    manifestSha256,
    already,
  };
}

function textOfBuilt({ manifest, artifact, already }: BuiltRelease, repository: string): string {
  const { version, sourceCommit } = manifest;
  const source = sourceCommit === null ? '' : `, from commit ${shortCommit(sourceCommit)}`;
  const what = already ? `${version} is published already, with the same contents` : `${version} published`;
  const files = `${artifact.files.length} files, ${artifact.sizeBytes} bytes packed`;
  return [
    `${what}: ${files}, for ${artifact.os}/${artifact.arch}${source}`,
    `  repository  ${repository}`,
    `  digest      ${artifact.treeDigest}`,
  ].join('\n');
}

/** Ten digits tell commits apart; what follows them (`-dirty`) stays. */
function shortCommit(commit: string): string {
  return commit.replace(/^([0-9a-f]{10})[0-9a-f]*/, '$1');
}
