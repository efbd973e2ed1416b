/**
 * `plexi-node-agent install`: the first placing of a release on a node, without a controller. It
 * refuses a node that has one: from then on only rollouts change it.
 */
import { PlexiError } from '../config/errors.js';
import { artifactFor } from '../release/manifest.js';
import { stageRelease } from '../release/repository/stage.js';
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
  const { sha256, manifest } = await node.repository.manifest(canonical);
  const artifact = artifactFor(manifest, process.platform, process.arch);
  if (artifact === undefined) {
    throw new PlexiError(
      'RELEASE_NOT_FOUND',
      `release ${canonical} has no artifact for ${process.platform}/${process.arch}; build one with plexictl release build --platform`,
    );
  }
  const staged = await stageRelease({
    repository: node.repository,
    version: canonical,
    manifestSha256: sha256,
    artifactSha256: artifact.sha256,
    releasesDir: node.paths.releases,
    os: process.platform,
    arch: process.arch,
    signal: AbortSignal.timeout(3_600_000),
  });
  await swapLinkDurably(node.paths.current, linkTarget(staged.folder));
  return staged.folder;
}
