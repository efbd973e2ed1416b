/**
 * Reads one configuration file against its schema, or several that belong together. Invariant: what is
 * wrong with a file never hides what is wrong with another; the value comes out only when no file has
 * a problem.
 */
import type * as z from 'zod';
import { rolloutContradictions, updateContradictions } from './contradictions.js';
import {
  ConfigInvalidError,
  type ConfigProblem,
  configInvalid,
  type PlacedDocument,
  problemsOfIssues,
  valueAt,
} from './problems.js';
import { type ControllerFile, controllerSchema } from './schema/controller.js';
import { filePath } from './schema/fields.js';
import { schemaKeys } from './schema/keys.js';
import { type UpdateConfig, updateSchema } from './schema/update.js';
import { readYamlFile } from './yaml-source.js';

/** What came of one file: its value, or what is wrong with it. */
export interface Loaded<T> {
  readonly value?: T;
  /** The file's data as it was written, when it could be parsed at all. */
  readonly document?: PlacedDocument;
  readonly problems: readonly ConfigProblem[];
}

/** Reads a file; its problems come back and are not thrown. */
export function read<S extends z.ZodType>(file: string, schema: S): Loaded<z.output<S>> {
  try {
    const document = readYamlFile(file);
    const parsed = schema.safeParse(document.value);
    return parsed.success
      ? { value: parsed.data, document, problems: [] }
      : { document, problems: problemsOfIssues(document, parsed.error.issues, schemaKeys(schema)) };
  } catch (error) {
    if (error instanceof ConfigInvalidError) return { problems: error.problems };
    throw error;
  }
}

/** Reads update.yml, and finds what contradicts itself in it. */
export function readUpdate(file: string): Loaded<UpdateConfig> {
  return withProblems(read(file, updateSchema), updateContradictions);
}

/** Reads controller.yml, and the update.yml that it names, also when the rest of it is wrong. */
export function readController(
  file: string,
  folder: string,
): { controller: Loaded<ControllerFile>; update: Loaded<UpdateConfig> | undefined } {
  const controller = read(file, controllerSchema(folder));
  const named = filePath(folder).safeParse(valueAt(controller.document?.value, ['update_file']));
  const update = named.success ? readUpdate(named.data) : undefined;
  return {
    controller: withProblems(controller, (document) => rolloutContradictions(document, update?.document)),
    update,
  };
}

/** The policy of a cluster: what update.yml says, or the defaults. Errors: CONFIG_INVALID. */
export function policyOf(update: Loaded<UpdateConfig> | undefined): UpdateConfig {
  return update === undefined ? updateSchema.parse({ update_system: {} }) : valueOrThrow([update]);
}

/** The value of the first file, once all files are without a problem. Errors: CONFIG_INVALID. */
export function valueOrThrow<T>(files: readonly [Loaded<T>, ...Loaded<unknown>[]]): T {
  const problems = files.flatMap((file) => file.problems);
  const value = files[0].value;
  if (problems.length > 0 || value === undefined) throw configInvalid(problems);
  return value;
}

function withProblems<T>(loaded: Loaded<T>, find: (document: PlacedDocument) => ConfigProblem[]): Loaded<T> {
  const { document, problems } = loaded;
  return document === undefined ? loaded : { ...loaded, problems: [...problems, ...find(document)] };
}
