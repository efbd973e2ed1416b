/**
 * `npm run bench`: set-up and build, then the measurements. `--json` prints one JSON document on
 * stdout and nothing else there. All figures of a row come from one run on one machine; compare them
 * within a run only.
 */
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { argv, env, execPath, exit } from 'node:process';
import { checkout } from '../../deploy/setup/checkout.mjs';
import { build } from '../../deploy/setup/compile.mjs';
import { ensureEtcd } from '../../deploy/setup/etcd.mjs';
import { installPackages } from '../../deploy/setup/packages.mjs';

const say = (text) => process.stderr.write(`${text}\n`);
await installPackages(say);
const { etcd } = ensureEtcd(say);
await build();
const result = spawnSync(execPath, [join('dist', 'test', 'bench', 'bench.js'), ...argv.slice(2)], {
  cwd: checkout,
  stdio: 'inherit',
  env: { ...env, PATH: `${env.PATH}:${dirname(etcd)}` },
});
exit(result.status ?? 1);
