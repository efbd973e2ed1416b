/**
 * `npm run setup`: everything that a fresh clone needs before it can run: packages, etcd, the build.
 * `--packages-only` stops after the packages. Idempotent; says one line for each thing it really does.
 */
import { argv } from 'node:process';
import { build } from './compile.mjs';
import { ensureEtcd } from './etcd.mjs';
import { installPackages } from './packages.mjs';

const say = (text) => process.stderr.write(`setup: ${text}\n`);

try {
  await installPackages(say);
  if (!argv.includes('--packages-only')) {
    ensureEtcd(say);
    await build();
  }
} catch (error) {
  say(error.message);
  process.exitCode = 1;
}
