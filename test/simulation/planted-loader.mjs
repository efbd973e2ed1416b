/**
 * Plants one bug into the process that is started with `--import` of this file: the source of one file
 * is changed before it is compiled. PLEXI_PLANTED names the file and the words, as JSON. What is not found
 * exactly once is an error, for then the bug is no longer where the list says.
 */
import { readFileSync } from 'node:fs';
import { register } from 'node:module';
import { join } from 'node:path';
import { env } from 'node:process';
import { isMainThread } from 'node:worker_threads';

const bug = JSON.parse(env.PLEXI_PLANTED);
const compiled = `/dist/${bug.file.replace(/\.ts$/, '.js')}`;

// The same file holds the hook, which runs in a thread of its own.
if (isMainThread) register(import.meta.url);

export async function load(url, context, nextLoad) {
  if (!url.endsWith(compiled)) return nextLoad(url, context);
  const source = readFileSync(join(import.meta.dirname, '..', '..', bug.file), 'utf8');
  const parts = source.split(bug.right);
  if (parts.length !== 2) throw new Error(`${bug.file} holds ${parts.length - 1} times: ${bug.right}`);
  // What tsx runs on: the compiler itself takes a second to load.
  const { transform } = await import('esbuild');
  const { code } = await transform(parts.join(bug.wrong), { loader: 'ts', target: 'es2023' });
  return { format: 'module', source: code, shortCircuit: true };
}
