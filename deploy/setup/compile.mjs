/**
 * The build: generates gRPC code from proto/ into gen/, then compiles everything into dist/. Generating
 * is skipped when its inputs are as before; the compiler looks only at what changed. A type error fails
 * the build and leaves dist/ as it was. One build at a time in a checkout (a lock).
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { checkout, readIfThere, sha256, withLock } from './checkout.mjs';

/** Generates and compiles; throws with the compiler's own words when that fails. */
export async function build() {
  await exclusively(() => {
    generate();
    compile();
    removeOrphans();
  });
}

/** Only generates: what a look at the sources needs. It waits for no build when there is nothing to do. */
export async function generateCode() {
  if (!isGenerated()) await exclusively(generate);
}

async function exclusively(work) {
  if (!existsSync(join(checkout, 'node_modules', 'typescript'))) {
    throw new Error(`the packages are missing in ${checkout}; run \`npm ci\` there`);
  }
  await withLock('build', work);
}

/** The stamp inside gen/ names the inputs that gen/ was made from, and is written last. */
const stamp = join(checkout, 'gen', '.inputs');

function isGenerated() {
  const inputs = readIfThere(stamp);
  return inputs !== undefined && inputs === generateInputs();
}

/** buf cleans the folder itself, the stamp with it. */
function generate() {
  if (isGenerated()) return;
  const buf = run([join('node_modules', '@bufbuild', 'buf', 'bin', 'buf'), 'generate']);
  if (buf.status !== 0) throw new Error(`buf generate failed:\n${buf.output}`);
  writeFileSync(stamp, generateInputs());
}

function generateInputs() {
  const files = filesUnder(join(checkout, 'proto')).filter((file) => file.endsWith('.proto'));
  files.push(join(checkout, 'buf.gen.yaml'), join(checkout, 'buf.yaml'));
  for (const name of ['ts-proto', '@bufbuild/buf'])
    files.push(join(checkout, 'node_modules', name, 'package.json'));
  return files.map((file) => `${sha256(readFileSync(file))} ${relative(checkout, file)}\n`).join('');
}

function compile() {
  const tsc = run([
    join('node_modules', 'typescript', 'bin', 'tsc'),
    '-p',
    'tsconfig.json',
    '--noEmitOnError',
  ]);
  if (tsc.status !== 0) throw new Error(`the type check failed:\n${tsc.output}`);
}

/** Removes compiled files whose source is gone, so that no package carries them. */
function removeOrphans() {
  const dist = join(checkout, 'dist');
  for (const file of filesUnder(dist)) {
    const source = /^(.*)\.js(\.map)?$/.exec(relative(dist, file))?.[1];
    if (source !== undefined && !existsSync(join(checkout, `${source}.ts`))) rmSync(file);
  }
}

function filesUnder(folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .sort();
}

function run(words) {
  const result = spawnSync(process.execPath, words, { cwd: checkout, encoding: 'utf8' });
  return { status: result.status, output: `${result.stdout}${result.stderr}` };
}
