/** What loads the sources into this process, for another one that runs some of them. */
import { join, relative } from 'node:path';
import { execArgv } from 'node:process';
import { fileURLToPath } from 'node:url';

/** The options of this process that name its loaders; none where it runs as it is built. */
export const loader: readonly string[] = execArgv.filter(
  (word, index) => word === '--import' || execArgv[index - 1] === '--import',
);

const checkout = fileURLToPath(new URL('..', import.meta.url));
const isBuilt = import.meta.url.endsWith('.js');
const isLoadedAsBuilt = loader.some((word) => word.endsWith('built-loader.mjs'));

/** The words behind `node` that run a program of ours as this process runs; `url` names its source, `….ts`. */
export function programWords(url: URL): string[] {
  const source = fileURLToPath(url);
  const compiled = source.replace(/\.ts$/, '.js');
  if (isBuilt) return [compiled];
  // A program by itself needs no loader when it stands in dist/.
  if (isLoadedAsBuilt) return [join(checkout, 'dist', relative(checkout, compiled))];
  return [...loader, source];
}
