/**
 * Staging: the release is downloaded, verified and unpacked beside the one that runs, and the one to
 * go back to is verified too. Then the release may say whether its migrations would work. The service
 * runs on, untouched; a failed download or check costs nothing.
 */
import { join } from 'node:path';
import { asPlexiError, PlexiError } from '../../config/errors.js';
import { CommandResult, type StageStep } from '../../gen/plexi/v1/node_agent.js';
import { folderToRun } from '../../release/repository/place.js';
import { stageRelease } from '../../release/repository/stage.js';
import { treeDifferences } from '../../release/tree.js';
import { NONE } from '../../release/version.js';
import { type AgentNode, currentRelease, type LocalRelease, linkedFolder, localRelease } from '../node.js';
import { checkMigrations } from './check-migrations.js';

/** Stages what the order names. The result tells the failure; nothing that runs is touched. */
export async function stage(
  node: AgentNode,
  order: StageStep,
  onProgress: (percent: number) => void,
  commandId: string,
): Promise<CommandResult> {
  const signal = AbortSignal.timeout(Number(order.timeoutMs));
  const release = await currentRelease(node.paths);
  try {
    // A release that is damaged is no way back; what replaces it is the same one, whole.
    if (!order.reinstall) await verifyWayBack(node, order);
    const staged =
      order.manifestSha256 === ''
        ? await stagedBefore(node, order)
        : await stageRelease({
            repository: node.repository,
            version: order.release?.version ?? '',
            manifestSha256: order.manifestSha256,
            artifactSha256: order.artifactSha256,
            releasesDir: node.paths.releases,
            os: process.platform,
            arch: process.arch,
            signal,
            anew: order.reinstall,
            onProgress,
          });
    if (staged.treeDigest !== order.release?.digest) {
      throw new PlexiError(
        'RELEASE_DIGEST_MISMATCH',
        `release ${order.release?.version} has another digest here than in the plan; plan again`,
      );
    }
    const { folder, manifest, treeDigest: digest } = staged;
    const stagedRelease = { folder, manifest, digest, version: manifest.version };
    await checkMigrations(node, order.checkMigrations, { release: stagedRelease, commandId, signal });
    return CommandResult.fromPartial({ outcome: 'done', release });
  } catch (thrown) {
    const error = asPlexiError(thrown, 'STAGE_FAILED', `staging on ${node.config.node}`);
    node.log.warn({ err: thrown }, error.message);
    return CommandResult.fromPartial({
      outcome: 'failed',
      failure: { code: error.code, message: error.message },
      failedStep: 'stage',
      release,
    });
  }
}

/** A release that no repository has: it was taken over on this node, and must lie here, whole. */
async function stagedBefore(node: AgentNode, { release }: StageStep) {
  const { releases } = node.paths;
  const { version = '', digest = '' } = release ?? {};
  const found = await localRelease(node.paths, await folderToRun(releases, version, digest));
  if (found === undefined || (await changesOf(node, found)).length > 0) {
    throw new PlexiError(
      'RELEASE_NOT_FOUND',
      `no repository has release ${version}, and ${node.config.node} does not have it whole any more; publish it with plexictl release build`,
    );
  }
  return { folder: found.folder, manifest: found.manifest, treeDigest: found.digest };
}

/** How the files of a release on this node differ from its manifest. */
export function changesOf(
  node: Pick<AgentNode, 'paths'>,
  { manifest, digest, folder }: LocalRelease,
): Promise<string[]> {
  const artifact = manifest.artifacts.find((candidate) => candidate.treeDigest === digest);
  return treeDifferences(join(node.paths.releases, folder), artifact?.files ?? []);
}

/** What a rollback would start must be whole, before anything is stopped (semantics S11). */
async function verifyWayBack(node: AgentNode, order: StageStep): Promise<void> {
  if (order.back === undefined || order.back.version === NONE) return;
  const folder = await linkedFolder(node.paths.current);
  const back = await localRelease(node.paths, folder);
  if (back === undefined || back.digest !== order.back.digest) {
    throw new PlexiError(
      'NODE_CHANGED',
      `${node.config.node} does not run ${order.back.version} any more; plan again`,
    );
  }
  const differences = await changesOf(node, back);
  if (differences.length > 0) {
    throw new PlexiError(
      'NODE_CHANGED',
      `release ${back.version} on ${node.config.node} was changed by hand (${differences[0]}); going back to it would not be safe; say what it is with plexictl node confirm, or replace it with plexictl node reinstall`,
    );
  }
}
