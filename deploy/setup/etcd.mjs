/**
 * Finds etcd and etcdctl, or fetches them: those on PATH; else those unpacked earlier into the cache;
 * else Debian's packages etcd-server and etcd-client, downloaded and unpacked into the cache. That
 * needs no root and starts no service (no package is installed). Plain Node without packages.
 *
 * A folder in the cache is complete or absent: it is unpacked beside its place and renamed.
 */
import { spawnSync } from 'node:child_process';
import { accessSync, constants, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';

const packages = ['etcd-server', 'etcd-client'];

/**
 * Where etcd and etcdctl stand, or undefined.
 * @returns {{etcd: string, etcdctl: string} | undefined}
 */
export function findEtcd() {
  const onPath = binariesIn((process.env.PATH ?? '').split(delimiter).filter(Boolean));
  return onPath ?? cachedEtcd();
}

/**
 * Where etcd and etcdctl stand; fetches them when they are nowhere.
 * @param {(text: string) => void} say
 * @returns {{etcd: string, etcdctl: string}}
 */
export function ensureEtcd(say) {
  const found = findEtcd();
  if (found) return found;
  if (!isExecutable('/usr/bin/dpkg-deb') || !isExecutable('/usr/bin/apt-get')) {
    throw new Error(
      'etcd and etcdctl are not on PATH: install etcd 3.4 or newer (https://etcd.io), then try again',
    );
  }
  say("fetching etcd and etcdctl (Debian's etcd-server and etcd-client) into the cache");
  fetchFromDebian();
  const fetched = cachedEtcd();
  if (!fetched) throw new Error(`the Debian packages ${packages.join(', ')} hold no etcd and etcdctl`);
  return fetched;
}

/** The folder for what is fetched: $XDG_CACHE_HOME/plexictl, else ~/.cache/plexictl. */
function cacheFolder() {
  return join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'plexictl');
}

function cachedEtcd() {
  let names;
  try {
    names = readdirSync(cacheFolder());
  } catch (error) {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  }
  const newestFirst = names
    .filter((name) => name.startsWith('etcd-'))
    .sort()
    .reverse();
  for (const name of newestFirst) {
    const found = binariesIn([join(cacheFolder(), name, 'usr', 'bin')]);
    if (found) return found;
  }
  return undefined;
}

function binariesIn(folders) {
  const first = (name) => folders.map((folder) => join(folder, name)).find(isExecutable);
  const etcd = first('etcd');
  const etcdctl = first('etcdctl');
  return etcd && etcdctl ? { etcd, etcdctl } : undefined;
}

function isExecutable(file) {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function fetchFromDebian() {
  mkdirSync(cacheFolder(), { recursive: true });
  const work = mkdtempSync(join(cacheFolder(), 'fetching-'));
  try {
    download(work);
    const debs = readdirSync(work)
      .filter((name) => name.endsWith('.deb'))
      .sort();
    const unpacked = join(work, 'unpacked');
    for (const deb of debs) run('dpkg-deb', ['-x', deb, unpacked], work);
    const server = debs.find((name) => name.startsWith('etcd-server_')) ?? 'etcd-server_unknown_.deb';
    const version = server.slice('etcd-server_'.length, -'.deb'.length).replace(/[^\w.+-]/g, '-');
    moveIntoPlace(unpacked, join(cacheFolder(), `etcd-${version}`));
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** Downloads with the machine's package lists; when it has none, with lists of our own in the work folder. */
function download(work) {
  const asRoot = process.getuid?.() === 0 ? ['-o', 'APT::Sandbox::User=root'] : [];
  const known = spawnSync('apt-get', [...asRoot, 'download', ...packages], { cwd: work, encoding: 'utf8' });
  if (known.status === 0) return;
  const own = [
    ...asRoot,
    '-o',
    `Dir::State=${join(work, 'state')}`,
    '-o',
    `Dir::Cache=${join(work, 'cache')}`,
  ];
  for (const folder of ['state/lists/partial', 'cache/archives/partial']) {
    mkdirSync(join(work, folder), { recursive: true });
  }
  // One broken third-party source makes `update` fail; the download below tells whether it matters.
  const update = spawnSync('apt-get', [...own, 'update'], { cwd: work, encoding: 'utf8' });
  try {
    run('apt-get', [...own, 'download', ...packages], work);
  } catch (error) {
    throw new Error(`${error.message}\n${update.stderr}Install etcd 3.4 or newer yourself, then try again.`);
  }
}

function run(program, argv, cwd) {
  const result = spawnSync(program, argv, { cwd, encoding: 'utf8' });
  if (result.status === 0) return;
  const reason = result.error?.message ?? `status ${result.status}\n${result.stderr}`;
  throw new Error(`${program} ${argv.join(' ')} failed: ${reason}`);
}

/** Another process may have been faster: then its folder stays, and ours goes. */
function moveIntoPlace(from, to) {
  try {
    renameSync(from, to);
  } catch (error) {
    if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error;
  }
}
