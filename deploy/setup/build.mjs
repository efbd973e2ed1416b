/** `npm run build`: see compile.mjs. The packages must be installed. */
import { build } from './compile.mjs';

try {
  await build();
} catch (error) {
  process.stderr.write(`build: ${error.message}\n`);
  process.exitCode = 1;
}
