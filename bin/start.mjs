/**
 * What the three launchers share: they run the built program from dist/. Node resolves the launcher's
 * own symbolic link first, so a global install and a link on PATH find the same dist/ as a checkout.
 */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** Runs `dist/<room>/main.js`; without it, ends with exit code 2 and one sentence. */
export async function start(program, room) {
  const entry = new URL(`../dist/${room}/main.js`, import.meta.url);
  if (!existsSync(entry)) {
    const root = fileURLToPath(new URL('..', import.meta.url));
    process.stderr.write(
      `${program}: the program is not built: ${fileURLToPath(entry)} is missing; run \`npm ci && npm run build\` in ${root}\n`,
    );
    process.exit(2);
  }
  await import(entry.href);
}
