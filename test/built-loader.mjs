/**
 * Loads the sources as the build has compiled them: `import` finds `x.ts` under its own name, and gets the text
 * of `dist/x.js`. For a short test file this is half the work of compiling it and all that it imports with tsx,
 * which is for a checkout whose build may be old. test/run.mjs builds first.
 */
import { readFile } from 'node:fs/promises';
import { register } from 'node:module';
import { isMainThread } from 'node:worker_threads';

const checkout = new URL('..', import.meta.url).href;

// Hooks run on a thread of their own, which loads this file as well.
if (isMainThread) {
  process.setSourceMapsEnabled(true);
  register(import.meta.url);
}

/** The sources import each other by the names of what they are compiled to. */
export async function resolve(specifier, context, next) {
  const { parentURL = '' } = context;
  const isOurs = specifier.startsWith('.') && specifier.endsWith('.js') && isSource(parentURL);
  if (!isOurs) return next(specifier, context);
  const url = new URL(`${specifier.slice(0, -'.js'.length)}.ts`, parentURL).href;
  return { url, format: 'module', shortCircuit: true };
}

/** The map of what is compiled leads back to the lines of the source; Node wants its name without a scheme. */
export async function load(url, context, next) {
  if (!isSource(url)) return next(url, context);
  const compiled = new URL(`${checkout}dist/${url.slice(checkout.length, -'.ts'.length)}.js`);
  const text = await readFile(compiled, 'utf8');
  const map = `//# sourceMappingURL=${compiled.pathname}.map`;
  return {
    format: 'module',
    source: text.replace(/^\/\/# sourceMappingURL=.*$/m, map),
    shortCircuit: true,
  };
}

function isSource(url) {
  return url.startsWith(checkout) && url.endsWith('.ts') && !url.includes('/node_modules/');
}
