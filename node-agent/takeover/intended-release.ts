/**
 * Which release stands for what runs: the one that lies on the node where nothing has changed, the
 * repository's own where the files are the same, and else one that is made of the files. Invariant:
 * nothing is written before `place` is called, so whatever refuses is found while all is untouched.
 */
import { readdir } from 'node:fs/promises';
import { PlexiError } from '../../config/errors.js';
import type { ReleaseFile, ReleaseService } from '../../release/manifest-shape.js';
import type { FetchedManifest } from '../../release/repository/fetch.js';
import {
  type ReleaseFileContents,
  readReleaseFile,
  releaseFileName,
} from '../../release/repository/release-file.js';
import { treeDifferences } from '../../release/tree.js';
import { ownArtifact, stageFetched } from '../install.js';
import type { AgentNode, LocalRelease } from '../node.js';
import { type NamedFolder, startWords } from './command-line.js';
import { copiedManifest, copyRelease } from './copied-release.js';
import { folderFiles } from './folder-files.js';
import type { FolderProcess } from './running-process.js';

/** Differences that one sentence names. */
const differencesShown = 3;

/** What runs, as far as it is known. */
export interface Running {
  readonly node: AgentNode;
  /** In the form of the node's version scheme. */
  readonly version: string;
  /** The folder that it runs from; undefined: nobody named one. */
  readonly folder: NamedFolder | undefined;
  /** The release that lies in that folder. */
  readonly local: LocalRelease | undefined;
  /** The service's process, where the agent has to find it by itself. */
  readonly process: FolderProcess | undefined;
  readonly signal: AbortSignal;
}

/** A release that is known, and not yet on the disk. */
export interface IntendedRelease {
  readonly service: Pick<ReleaseService, 'start' | 'stopSignal'>;
  /** Puts it under releases/, and returns its folder's name. May be called again after a crash. */
  place(onProgress: (percent: number) => void): Promise<string>;
}

/** For a service that the agent never had: the repository's release, which the folder must equal. */
export async function releaseToAdopt(running: Running): Promise<IntendedRelease> {
  const { node, version, folder } = running;
  const fetched = await fetchedOrNone(running);
  if (folder === undefined) {
    if (fetched !== undefined) return stagedRelease(running, fetched);
    throw new PlexiError(
      'TAKE_OVER_FAILED',
      `the repository of ${node.config.node} has no release ${version}; name the folder that the service runs from with --dir`,
    );
  }
  const { files, facts } = await lookInto(running, folder);
  if (fetched === undefined) return releaseOfFiles(running, folder, files, facts);
  const differences = listDifferences(ownArtifact(fetched.manifest).files, files);
  if (differences.length === 0) return stagedRelease(running, fetched);
  const more =
    differences.length > differencesShown ? ` and ${differences.length - differencesShown} more` : '';
  throw new PlexiError(
    'TAKE_OVER_FAILED',
    `${folder.given} is not release ${version} of the repository: ${differences.slice(0, differencesShown).join('; ')}${more}; put the files right, or say which version it is`,
    { details: { differences } },
  );
}

/** After somebody changed the node by hand: whatever lies in the folder is what shall be. */
export async function releaseToConfirm(running: Running, folder: NamedFolder): Promise<IntendedRelease> {
  const { local, version, signal } = running;
  if (local !== undefined && local.version === version) {
    const artifact = local.manifest.artifacts.find((it) => it.treeDigest === local.digest);
    const differences = await treeDifferences(folder.real, artifact?.files ?? [], signal);
    if (differences.length === 0)
      return { service: local.manifest.service, place: () => Promise.resolve(local.folder) };
  }
  const { files, facts } = await lookInto(running, folder);
  const fetched = await fetchedOrNone(running);
  if (fetched !== undefined && listDifferences(ownArtifact(fetched.manifest).files, files).length === 0)
    return stagedRelease(running, fetched);
  return releaseOfFiles(running, folder, files, facts);
}

function stagedRelease({ node, signal }: Running, fetched: FetchedManifest): IntendedRelease {
  return {
    service: fetched.manifest.service,
    async place(onProgress) {
      return (await stageFetched(node, fetched, signal, { anew: true, onProgress })).folder;
    },
  };
}

async function releaseOfFiles(
  running: Running,
  folder: NamedFolder,
  files: Awaited<ReturnType<typeof folderFiles>>,
  facts: ReleaseFileContents | undefined,
): Promise<IntendedRelease> {
  const { node, version, signal } = running;
  const service = running.local?.manifest.service ?? facts?.service ?? (await handMade(running, folder));
  const name = facts?.name ?? running.local?.manifest.name;
  const createdAt = node.clock.wall();
  const manifest = copiedManifest({ version, name, directory: folder.given, service, files, createdAt });
  return { service, place: () => copyRelease(node.paths.releases, manifest, files, signal) };
}

/** How the service is started when nobody wrote it down. */
async function handMade({ node, process }: Running, folder: NamedFolder): Promise<ReleaseService> {
  const [config] = node.config.services;
  const rest = { env: {}, stopSignal: 'SIGTERM' };
  if (config?.adapter === 'systemd') return { start: ['systemctl', 'start', config.unit], ...rest };
  if (config?.start !== undefined) return { start: config.start, ...rest };
  if (process !== undefined) return { start: await startWords(process, folder), ...rest };
  throw new PlexiError(
    'TAKE_OVER_FAILED',
    `nothing says how the service in ${folder.given} is started; write a ${releaseFileName} there (name, service.start), and try again`,
  );
}

async function lookInto({ signal }: Running, folder: NamedFolder) {
  const hasFacts = (await readdir(folder.real)).includes(releaseFileName);
  const facts = hasFacts ? readReleaseFile(folder.real) : undefined;
  return { facts, files: await folderFiles(folder.real, facts?.exclude ?? [], signal) };
}

/** The repository's manifest; undefined when it does not have the version. */
async function fetchedOrNone({ node, version, signal }: Running): Promise<FetchedManifest | undefined> {
  try {
    return await node.repository.manifest(version, signal);
  } catch (thrown) {
    if (thrown instanceof PlexiError && thrown.code === 'RELEASE_NOT_FOUND') return undefined;
    throw thrown;
  }
}

/** One sentence for each file that differs. Of a mode counts what a release keeps: who may execute it. */
function listDifferences(expected: readonly ReleaseFile[], found: readonly ReleaseFile[]): string[] {
  const missing = new Map(expected.map((file) => [file.path, file]));
  const differences: string[] = [];
  for (const { path, mode, sha256 } of found) {
    const wanted = missing.get(path);
    missing.delete(path);
    if (wanted === undefined) differences.push(`${path}: is not part of the release`);
    else if (wanted.sha256 !== sha256) differences.push(`${path}: has other contents`);
    else if ((wanted.mode & 0o100) !== (mode & 0o100))
      differences.push(`${path}: ${(mode & 0o100) === 0 ? 'is not' : 'is'} executable`);
  }
  return [...differences, ...[...missing.keys()].map((path) => `${path}: is missing`)];
}
