/**
 * Makes the driver one file with its compiled form beside it, because a killed agent is a process that has
 * to be started anew for every try: so a start costs a quarter of what it costs from many files. esbuild is
 * what tsx runs on.
 */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, type Plugin } from 'esbuild';

/**
 * The first thing that a driver does is to start the one thread of libuv's pool, so that the harness knows
 * which thread is which: strace counts calls by thread.
 */
const launcher = `
const fs = require('node:fs');
const vm = require('node:vm');
const before = new Set(fs.readdirSync('/proc/self/task'));
fs.stat('/', () => {});
const pool = fs.readdirSync('/proc/self/task').find((thread) => !before.has(thread));
const [file, cache, makesCache] = process.argv.slice(2);
const cachedData = makesCache ? undefined : fs.readFileSync(cache);
const source = '(function (exports, require, module) {' + fs.readFileSync(file, 'utf8') + '})';
const script = new vm.Script(source, { filename: file, cachedData });
const driver = { exports: {} };
script.runInThisContext()(driver.exports, require, driver);
if (makesCache) fs.writeFileSync(cache, script.createCachedData());
else driver.exports.main(Number(pool));
`;

/** The driver starts no server, and what this package loads costs a third of the start. */
const withoutHealthServer: Plugin = {
  name: 'without-health-server',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^grpc-health-check$/ }, ({ path }) => ({ path, namespace: 'absent' }));
    onLoad({ filter: /./, namespace: 'absent' }, () => ({ contents: 'module.exports = {};' }));
  },
};

/** Builds the driver into a folder. Returns the words behind `node` that start it. */
export async function bundleDriver(folder: string): Promise<string[]> {
  const words = ['launcher.cjs', 'driver.cjs', 'driver.cache'].map((name) => join(folder, name));
  const [launcherFile = '', outfile = ''] = words;
  await build({
    entryPoints: [fileURLToPath(new URL('./driver.test.part.ts', import.meta.url))],
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target: 'node20',
    outfile,
    define: { 'import.meta.url': JSON.stringify(import.meta.url) },
    plugins: [withoutHealthServer],
    logLevel: 'error',
  });
  writeFileSync(launcherFile, launcher);
  execFileSync(process.execPath, [...words, 'make']);
  return words;
}
