/**
 * The client file of plexictl (contract, section 2): where the controllers are, and who the operator
 * is. Invariant: the addresses can be dialled and the paths are absolute.
 */
import * as z from 'zod';
import { controllers, tlsFiles } from './fields.js';

/** The schema of the client file; relative paths are taken from `folder`. */
export function clientSchema(folder: string) {
  return z.strictObject({ controllers: controllers(), tls: tlsFiles(folder) });
}

/** How plexictl reaches its cluster. */
export type ClientConfig = z.output<ReturnType<typeof clientSchema>>;
