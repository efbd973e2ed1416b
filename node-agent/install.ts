/**
 * `plexi-node-agent install`: the first placing of a release on a node, without a controller. It
 * refuses a node that has one: from then on only rollouts change it.
 */
import { defaults } from '../config/defaults.js';
import { PlexiError } from '../config/errors.js';
import { artifactFor, type ReleaseArtifact, type ReleaseManifest } from '../release/manifest.js';
import type { FetchedManifest } from '../release/repository/fetch.js';
import { type StagedRelease, type StageOptions, stageRelease } from '../release/repository/stage.js';
import { versionScheme } from '../release/version.js';
import { swapLinkDurably } from './disk/durable-file.js';
import { type AgentNode, linkedFolder } from './node.js';
import { linkTarget } from './upgrade/apply.js';

/** Stages a version and makes it `current`. @throws PlexiError NODE_EXISTS, and whatever staging throws */
export async function installRelease(node: AgentNode, version: string): Promise<string> {
  const { canonical } = versionScheme(node.config.versionScheme).parse(version);
  const folder = await linkedFolder(node.paths.current);
  if (folder !== undefined) {
    throw new PlexiError(
      'NODE_EXISTS',
      `${node.config.node} runs ${folder} already; change it with plexictl rollout`,
    );
  }
  const fetched = await node.repository.manifest(canonical);
  const staged = await stageFetched(node, fetched, AbortSignal.timeout(defaults.timeouts.stageMs));
  await swapLinkDurably(node.paths.current, linkTarget(staged.folder));
  return staged.folder;
}

/** The archive of a release for this machine. @throws PlexiError RELEASE_NOT_FOUND */
export function ownArtifact(manifest: ReleaseManifest): ReleaseArtifact {
  const artifact = artifactFor(manifest, process.platform, process.arch);
  if (artifact !== undefined) return artifact;
  throw new PlexiError(
    'RELEASE_NOT_FOUND',
    `release ${manifest.version} has no artifact for ${process.platform}/${process.arch}; build one with plexictl release build --platform`,
  );
}

/** Stages the release of a manifest that the node's repository has just given. */
export function stageFetched(
  node: AgentNode,
  { manifest, sha256 }: Pick<FetchedManifest, 'manifest' | 'sha256'>,
  signal: AbortSignal,
  more: Pick<StageOptions, 'anew' | 'onProgress'> = {},
): Promise<StagedRelease> {
  return stageRelease({
    repository: node.repository,
    version: manifest.version,
    manifestSha256: sha256,
    artifactSha256: ownArtifact(manifest).sha256,
    releasesDir: node.paths.releases,
    os: process.platform,
    arch: process.arch,
    signal,
    ...more,
  });
}
