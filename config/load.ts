/**
 * Loads the configuration files. Invariant: a program starts on a configuration that was checked as
 * a whole, or it says everything that is wrong with it, each with file, line and key (contract,
 * section 2: exit 2). Nothing in a file is expanded; relative paths are taken from the
 * folder of the file that names them. The files that a configuration names are not opened here.
 */
import { existsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import type * as z from 'zod';
import { PlexiError } from './errors.js';
import { limits } from './limits.js';
import { ConfigInvalidError, type ConfigProblem, configInvalid, problemsOfIssues } from './problems.js';
import { type ClientConfig, clientSchema } from './schema/client.js';
import { type ControllerConfig, controllerSchema } from './schema/controller.js';
import { splitHostPort } from './schema/fields.js';
import { type NodeAgentConfig, nodeAgentSchema } from './schema/node-agent.js';
import { type UpdateConfig, updateSchema } from './schema/update.js';
import { readYamlFile } from './yaml-source.js';

export type { ClientConfig } from './schema/client.js';
export type { ControllerConfig } from './schema/controller.js';
export type { NodeAgentConfig } from './schema/node-agent.js';
export type { ProbeConfig } from './schema/probes.js';
export type { SecretsConfig } from './schema/secrets.js';
export type { ServiceConfig } from './schema/service.js';
export type { UpdateConfig } from './schema/update.js';

/** Loads node-agent.yml. Errors: CONFIG_INVALID with all problems. */
export function loadNodeAgentConfig(file: string): NodeAgentConfig {
  return valueOrThrow([read(resolve(file), nodeAgentSchema(dirname(resolve(file))))]);
}

/** Loads a client file. Errors: CONFIG_INVALID with all problems. */
export function loadClientConfig(file: string): ClientConfig {
  return valueOrThrow([read(resolve(file), clientSchema(dirname(resolve(file))))]);
}

/** Loads update.yml. Errors: CONFIG_INVALID with all problems. */
export function loadUpdateConfig(file: string): UpdateConfig {
  return valueOrThrow([read(resolve(file), updateSchema)]);
}

/**
 * Loads controller.yml and the update.yml that it names; without `update_file` the policy is made of
 * the defaults. Errors: CONFIG_INVALID with the problems of both files.
 */
export function loadControllerConfig(file: string): ControllerConfig {
  const folder = dirname(resolve(file));
  const controller = read(resolve(file), controllerSchema(folder));
  const updateFile = updateFileOf(controller.raw, folder);
  if (updateFile === undefined)
    return { ...valueOrThrow([controller]), update: updateSchema.parse({ update_system: {} }) };
  const update = read(updateFile, updateSchema);
  return { ...valueOrThrow([controller, update]), update: valueOrThrow([update]) };
}

/** Where plexictl looks for its client file. */
export interface ClientConfigSources {
  /** The value of `--config`. */
  readonly configFlag?: string | undefined;
  /** The value of `--controller`: HOST:PORT[,HOST:PORT]. */
  readonly controllersFlag?: string | undefined;
  /** The environment; `PLEXI_CONFIG` is read from it. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The home folder of the user. */
  readonly homedir: string;
}

/**
 * Finds and loads the client file as the contract says (section 2): `--config`, else `PLEXI_CONFIG`,
 * else ~/.config/plexi/client.yml. `--controller` replaces only the controllers.
 * Errors: CONFIG_INVALID (also for a file that is missing), USAGE for a bad `--controller`.
 */
export function resolveClientConfig(sources: ClientConfigSources): ClientConfig {
  const fromEnvironment = sources.env.PLEXI_CONFIG;
  const named = sources.configFlag ?? (fromEnvironment === '' ? undefined : fromEnvironment);
  const file = named ?? join(sources.homedir, '.config', 'plexi', 'client.yml');
  if (named === undefined && !existsSync(file)) {
    throw new PlexiError(
      'CONFIG_INVALID',
      `${file} does not exist; name the client file of your cluster with --config FILE or PLEXI_CONFIG (config/samples/client.yml shows one)`,
    );
  }
  const config = loadClientConfig(file);
  if (sources.controllersFlag === undefined) return config;
  return { ...config, controllers: controllersFromFlag(sources.controllersFlag) };
}

function controllersFromFlag(flag: string): string[] {
  const list = flag.split(',').map((part) => part.trim());
  const wrong = list.find((part) => splitHostPort(part) === undefined);
  if (wrong !== undefined) {
    throw new PlexiError(
      'USAGE',
      `--controller: '${wrong}' is not HOST:PORT; write for example 10.0.0.5:7400,10.0.0.6:7400`,
    );
  }
  if (list.length > limits.controllers) {
    throw new PlexiError(
      'USAGE',
      `--controller names ${list.length} controllers; at most ${limits.controllers} are tried`,
    );
  }
  return [...new Set(list)];
}

/** What came of one file: its value, or what is wrong with it. */
interface Loaded<T> {
  readonly value?: T;
  /** The file's data as it was written, when it could be parsed at all. */
  readonly raw?: unknown;
  readonly problems: readonly ConfigProblem[];
}

function read<S extends z.ZodType>(file: string, schema: S): Loaded<z.output<S>> {
  try {
    const document = readYamlFile(file);
    const parsed = schema.safeParse(document.value);
    return parsed.success
      ? { value: parsed.data, raw: document.value, problems: [] }
      : { raw: document.value, problems: problemsOfIssues(document, parsed.error.issues) };
  } catch (error) {
    if (error instanceof ConfigInvalidError) return { problems: error.problems };
    throw error;
  }
}

/** The value of the first file, once all files are without a problem. */
function valueOrThrow<T>(files: readonly [Loaded<T>, ...Loaded<unknown>[]]): T {
  const problems = files.flatMap((file) => file.problems);
  const value = files[0].value;
  if (problems.length > 0 || value === undefined) throw configInvalid(problems);
  return value;
}

/** The policy's file, also when the rest of controller.yml is wrong: both are told together. */
function updateFileOf(raw: unknown, folder: string): string | undefined {
  if (typeof raw !== 'object' || raw === null || !('update_file' in raw)) return undefined;
  return typeof raw.update_file === 'string' ? resolve(folder, raw.update_file) : undefined;
}
