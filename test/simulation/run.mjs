/** `npm run simulate`: builds, then plays histories; what can be asked for stands in replay.test.part.ts. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { argv, execPath, exit } from 'node:process';
import { checkout } from '../../deploy/setup/checkout.mjs';
import { build } from '../../deploy/setup/compile.mjs';
import { installPackages } from '../../deploy/setup/packages.mjs';

const say = (text) => process.stderr.write(`${text}\n`);
await installPackages(say);
await build();
const program = join('dist', 'test', 'simulation', 'replay.test.part.js');
const result = spawnSync(execPath, [program, ...argv.slice(2)], { cwd: checkout, stdio: 'inherit' });
exit(result.status ?? 1);
