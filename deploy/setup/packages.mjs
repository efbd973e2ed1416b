/**
 * `npm ci`, only when it is needed: when what npm recorded in node_modules is not what package-lock.json
 * names. npm writes that record last, so a broken installation has none. Plain Node without packages.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { checkout, readIfThere, withLock } from './checkout.mjs';

/** Installs the packages of package-lock.json; does nothing when they are there already. */
export async function installPackages(say) {
  if (areInstalled()) return;
  await withLock('packages', () => {
    if (areInstalled()) return;
    say('installing packages (npm ci)');
    const npm = spawnSync('npm', ['ci', '--no-progress'], { cwd: checkout, encoding: 'utf8' });
    if (npm.error) throw new Error(`npm cannot be started: ${npm.error.message}; install npm beside Node`);
    if (npm.status !== 0) {
      throw new Error(`npm ci failed with status ${npm.status}:\n${npm.stdout}${npm.stderr}`);
    }
  });
}

function areInstalled() {
  const wanted = packagesOf('package-lock.json');
  // An installed package has no lock file, and its packages stand elsewhere.
  if (wanted === undefined) return true;
  const installed = packagesOf(join('node_modules', '.package-lock.json')) ?? {};
  return Object.entries(wanted).every(([path, { version, integrity, optional }]) => {
    if (path === '') return true;
    const found = installed[path];
    // Packages for other machines are optional, and absent here.
    if (found === undefined) return optional === true;
    return found.version === version && found.integrity === integrity;
  });
}

/** The packages that a lock file names, by path; undefined when there is no such file. */
function packagesOf(lockFile) {
  const text = readIfThere(join(checkout, lockFile));
  return text === undefined ? undefined : JSON.parse(text).packages;
}
