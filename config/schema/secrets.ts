/**
 * Secrets for hooks, migrations and tests: named here, read from files that only root may read, and
 * given to programs in their environment or on a descriptor. The value never stands in a
 * configuration file.
 */
import * as z from 'zod';
import { limits } from '../limits.js';
import { filePath } from './fields.js';

/** By variable name. `environment`: NAME holds it; `descriptor`: NAME_FD holds a number to read it from. */
export function secrets(folder: string) {
  return z
    .record(
      z
        .string()
        .regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'is no name of an environment variable')
        .refine((key) => !key.startsWith('PLEXI_'), 'begins with PLEXI_, which is kept for the agent'),
      z.strictObject({
        file: filePath(folder),
        as: z.enum(['environment', 'descriptor']).default('environment'),
      }),
    )
    .refine((record) => Object.keys(record).length <= limits.secrets, 'holds too many secrets')
    .default({});
}

/** Where the secrets of a node come from, by the name of their variable. */
export type SecretsConfig = z.output<ReturnType<typeof secrets>>;
