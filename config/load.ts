/**
 * Loads the configuration files. Invariant: a program starts on a configuration that was checked as
 * a whole, or it says everything that is wrong with it, each with file, line and key (contract,
 * section 2: exit 2). Nothing in a file is expanded; relative paths are taken from the
 * folder of the file that names them. The files that a configuration names are not opened here, but in
 * config/check-config.ts.
 */
import { existsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { PlexiError } from './errors.js';
import { limits } from './limits.js';
import { policyOf, read, readController, readUpdate, valueOrThrow } from './read-config.js';
import { type ClientConfig, clientSchema } from './schema/client.js';
import type { ControllerConfig } from './schema/controller.js';
import { splitHostPort } from './schema/fields.js';
import { type NodeAgentConfig, nodeAgentSchema } from './schema/node-agent.js';
import type { UpdateConfig } from './schema/update.js';

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
  return valueOrThrow([readUpdate(resolve(file))]);
}

/**
 * Loads controller.yml and the update.yml that it names; without `update_file` the policy is made of
 * the defaults. Errors: CONFIG_INVALID with the problems of both files.
 */
export function loadControllerConfig(file: string): ControllerConfig {
  const { controller, update } = readController(resolve(file), dirname(resolve(file)));
  const replica = update === undefined ? valueOrThrow([controller]) : valueOrThrow([controller, update]);
  return { ...replica, update: policyOf(update) };
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
