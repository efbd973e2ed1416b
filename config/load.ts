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
import { type ClientConfig, type ClientFile, clientSchema } from './schema/client.js';
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

/**
 * Loads a client file and chooses one cluster in it: the named context, else the current one, else the
 * only one. Errors: CONFIG_INVALID with all problems, USAGE for a context that is not known.
 */
export function loadClientConfig(file: string, context?: string): ClientConfig {
  return chosenContext(
    file,
    valueOrThrow([read(resolve(file), clientSchema(dirname(resolve(file))))]),
    context,
  );
}

function chosenContext(file: string, client: ClientFile, asked: string | undefined): ClientConfig {
  const names = [...client.contexts.keys()];
  if (asked !== undefined && client.single !== undefined) {
    throw new PlexiError(
      'USAGE',
      `there is no context ${asked}: ${file} is for one cluster and has no contexts; leave --context and PLEXI_CONTEXT out`,
    );
  }
  const only = names.length === 1 ? names[0] : undefined;
  const name = asked ?? client.currentContext ?? only;
  const chosen = name === undefined ? client.single : client.contexts.get(name);
  if (chosen !== undefined) return chosen;
  const known = `${file} knows ${names.join(', ')}`;
  const message =
    name === undefined
      ? `which cluster is meant? ${known}; name one with --context NAME, or write current_context in the file`
      : `there is no context ${name}; ${known}`;
  throw new PlexiError('USAGE', message, { details: { file, contexts: names } });
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
  /** The value of `--context`. */
  readonly contextFlag?: string | undefined;
  /** The environment; `PLEXI_CONFIG` and `PLEXI_CONTEXT` are read from it. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The home folder of the user. */
  readonly homedir: string;
}

/**
 * Finds and loads the client file as the contract says (section 2): `--config`, else `PLEXI_CONFIG`,
 * else ~/.config/plexi/client.yml; in it the context of `--context`, else of `PLEXI_CONTEXT`.
 * `--controller` replaces only the controllers.
 * Errors: CONFIG_INVALID (also for a file that is missing), USAGE for a bad `--controller` or context.
 */
export function resolveClientConfig(sources: ClientConfigSources): ClientConfig {
  const named = sources.configFlag ?? (sources.env.PLEXI_CONFIG || undefined);
  const context = sources.contextFlag ?? (sources.env.PLEXI_CONTEXT || undefined);
  const file = named ?? join(sources.homedir, '.config', 'plexi', 'client.yml');
  if (!existsSync(file)) {
    throw new PlexiError(
      'CONFIG_INVALID',
      `${file} does not exist; name the client file of your cluster with --config FILE or PLEXI_CONFIG (config/samples/client.yml shows one)`,
    );
  }
  const config = loadClientConfig(file, context);
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
