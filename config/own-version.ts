/** The version of this program, from the package.json that it was installed with. */
import { createRequire } from 'node:module';
import { z } from 'zod';

/** Where package.json is, seen from the source and from the compiled file. */
const candidates = ['../package.json', '../../package.json'];

/** The program's version; `unknown` when it was taken out of its package. */
export const ownVersion: string = readOwnVersion();

function readOwnVersion(): string {
  const require = createRequire(import.meta.url);
  for (const candidate of candidates) {
    try {
      const found = z
        .object({ name: z.literal('plexictl'), version: z.string() })
        .safeParse(require(candidate));
      if (found.success) return found.data.version;
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'MODULE_NOT_FOUND')) throw error;
    }
  }
  return 'unknown';
}
