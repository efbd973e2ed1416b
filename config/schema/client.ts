/**
 * The client file of plexictl (contract, section 2): where the controllers are, and who the operator
 * is; for one cluster, or under `contexts` for several by name. Invariant: the addresses can be dialled,
 * the paths are absolute, and a file never says both, so that nobody has to guess which one counts.
 */
import * as z from 'zod';
import { limits } from '../limits.js';
import { controllers, name, tlsFiles, whenFine } from './fields.js';

/** How plexictl reaches one cluster. */
export type ClientConfig = z.output<ReturnType<typeof connection>>;

/** A client file: the cluster it is for, or clusters by the names that the operator gave them. */
export interface ClientFile {
  /** The one cluster of a file without contexts. */
  readonly single: ClientConfig | undefined;
  readonly contexts: ReadonlyMap<string, ClientConfig>;
  /** The context that is meant when none is named. */
  readonly currentContext: string | undefined;
}

/** The schema of the client file; relative paths are taken from `folder`. */
export function clientSchema(folder: string) {
  return z
    .strictObject({
      controllers: controllers().optional(),
      tls: tlsFiles(folder).optional(),
      contexts: z.record(name(), connection(folder)).optional(),
      current_context: name().optional(),
    })
    .superRefine(
      (value, told) => {
        for (const { path, message } of contradictions(value))
          told.addIssue({ code: 'custom', path: [...path], message });
      },
      // Also beside other problems, so that all of them come at once.
      { when: whenFine() },
    )
    .transform(
      ({ controllers: addresses, tls, contexts, current_context }): ClientFile => ({
        single: addresses === undefined || tls === undefined ? undefined : { controllers: addresses, tls },
        contexts: new Map(Object.entries(contexts ?? {})),
        currentContext: current_context,
      }),
    );
}

function connection(folder: string) {
  return z.strictObject({ controllers: controllers(), tls: tlsFiles(folder) });
}

interface Written {
  readonly controllers?: unknown;
  readonly tls?: unknown;
  readonly contexts?: Readonly<Record<string, unknown>> | undefined;
  readonly current_context?: string | undefined;
}

interface Contradiction {
  readonly path: readonly string[];
  readonly message: string;
}

/** What cannot stand together in one file, each with the key that it is about. */
function contradictions(file: Written): Contradiction[] {
  if (file.contexts === undefined) return withoutContexts(file);
  // What is no group of contexts is told by the schema.
  if (typeof file.contexts !== 'object' || file.contexts === null || Array.isArray(file.contexts)) return [];
  const names = Object.keys(file.contexts);
  const known = names.join(', ');
  const found: Contradiction[] = [];
  for (const key of ['controllers', 'tls'] as const) {
    if (file[key] !== undefined)
      found.push({ path: [key], message: 'stands beside contexts; move it into one of them' });
  }
  if (names.length === 0) found.push({ path: ['contexts'], message: 'must have at least 1 entry' });
  if (names.length > limits.contexts)
    found.push({ path: ['contexts'], message: `must have at most ${limits.contexts} entries` });
  if (file.current_context !== undefined && !names.includes(file.current_context))
    found.push({ path: ['current_context'], message: `must be one of the contexts: ${known}` });
  return found;
}

function withoutContexts(file: Written): Contradiction[] {
  const missing: Contradiction[] = [];
  if (file.controllers === undefined)
    missing.push({ path: ['controllers'], message: 'is missing; it must be a list' });
  if (file.tls === undefined)
    missing.push({ path: ['tls'], message: 'is missing; it must be a group of keys' });
  if (file.current_context !== undefined)
    missing.push({ path: ['current_context'], message: 'names a context, and the file has no contexts' });
  return missing;
}
