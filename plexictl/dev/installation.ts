/**
 * Where the rest of this installation stands: launchers, sample service, etcd. `plexictl dev` starts
 * the other programs as processes and never imports them (ARCHITECTURE.md, directions), so it has to
 * find them on disk: beside package.json, in a checkout as in an installed package.
 */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { asPlexiError, PlexiError } from '../../config/errors.js';

/** The folder that holds our package.json. */
export const installation: string = findInstallation();

function findInstallation(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json'))) {
    const above = dirname(folder);
    if (above === folder)
      throw new PlexiError('INTERNAL', `${fileURLToPath(import.meta.url)} stands in no package`);
    folder = above;
  }
  return folder;
}

/** The launcher of one of the other two programs. */
export function launcher(program: 'plexi-controller' | 'plexi-node-agent'): string {
  return join(installation, 'bin', program);
}

/** The program that puts the release folder of one version of the sample service together. */
export const assembleProgram: string = join(installation, 'deploy', 'sample-service', 'assemble.mjs');

/** The paths of etcd and etcdctl. */
export interface EtcdBinaries {
  readonly etcd: string;
  readonly etcdctl: string;
}

/** Finds etcd and etcdctl, or fetches them into the cache. Errors: USAGE, saying what to install. */
export async function etcdBinaries(say: (text: string) => void): Promise<EtcdBinaries> {
  const setup = pathToFileURL(join(installation, 'deploy', 'setup', 'etcd.mjs')).href;
  // Set-up runs before there is any TypeScript, so this one module is plain JavaScript.
  const { ensureEtcd }: { ensureEtcd(say: (text: string) => void): EtcdBinaries } = await import(setup);
  try {
    return ensureEtcd(say);
  } catch (thrown) {
    throw asPlexiError(thrown, 'USAGE', 'etcd is missing');
  }
}
