/**
 * Loads a server's configuration and looks at every file that it names, at a start and for
 * `--check-config` alike, so that the two never differ in what they say. Invariant: all problems come
 * at once. What a running program meets anew each time (the release repository, secrets) is told at a
 * start and does not stop it: a share that is mounted late must not keep a node's service down.
 */
import { dirname, resolve } from 'node:path';
import type { Identity, Role } from './identity.js';
import {
  authorityProblems,
  type NamingDocument,
  namedName,
  repositoryProblems,
  secretProblems,
  tlsProblems,
} from './named-files.js';
import { type ConfigProblem, configInvalid, valueAt } from './problems.js';
import { type Loaded, policyOf, read, readController, valueOrThrow } from './read-config.js';
import type { ControllerConfig } from './schema/controller.js';
import { type NodeAgentConfig, nodeAgentSchema } from './schema/node-agent.js';

/** A configuration that a program can start on. */
export interface CheckedConfig<T> {
  readonly config: T;
  /** What is wrong and may be put right while the program runs; `--check-config` refuses these too. */
  readonly mayPass: readonly ConfigProblem[];
}

/** Loads and checks controller.yml with its update.yml. Errors: CONFIG_INVALID with all problems. */
export function checkControllerConfig(file: string): CheckedConfig<ControllerConfig> {
  const folder = dirname(resolve(file));
  const { controller, update } = readController(resolve(file), folder);
  const named = namingDocument(controller, folder);
  const lasting = named && [
    ...tlsProblems(named, ['tls'], expectedIdentity(named, 'controller', 'id')),
    ...tlsProblems(named, ['etcd', 'tls']),
  ];
  const mayPass = named === undefined ? [] : repositoryProblems(named);
  const files = update === undefined ? [controller] : [controller, update];
  throwIfAny(files, lasting ?? [], mayPass);
  return { config: { ...valueOrThrow([controller]), update: policyOf(update) }, mayPass };
}

/** Loads and checks node-agent.yml. Errors: CONFIG_INVALID with all problems. */
export function checkNodeAgentConfig(file: string): CheckedConfig<NodeAgentConfig> {
  const folder = dirname(resolve(file));
  const agent = read(resolve(file), nodeAgentSchema(folder));
  const named = namingDocument(agent, folder);
  const lasting = named && tlsProblems(named, ['tls'], expectedIdentity(named, 'agent', 'node'));
  const mayPass =
    named === undefined
      ? []
      : [...repositoryProblems(named), ...probeProblems(named), ...secretProblems(named)];
  throwIfAny([agent], lasting ?? [], mayPass);
  return { config: valueOrThrow([agent]), mayPass };
}

/**
 * The answer of `--check-config`: `FILE: fine`. Errors: CONFIG_INVALID with all problems, also with
 * those that would not stop a start.
 */
export function fineOrThrow(file: string, { mayPass }: CheckedConfig<unknown>): string {
  if (mayPass.length > 0) throw configInvalid(mayPass);
  return `${file}: fine\n`;
}

/** One sentence for all of `mayPass`, for the log of a start; undefined when there is nothing to say. */
export function mayPassSentence(problems: readonly ConfigProblem[]): string | undefined {
  return problems.length === 0 ? undefined : configInvalid(problems).message;
}

function throwIfAny(
  files: readonly Loaded<unknown>[],
  lasting: readonly ConfigProblem[],
  mayPass: readonly ConfigProblem[],
): void {
  const ofFiles = files.flatMap((loaded) => loaded.problems);
  if (ofFiles.length + lasting.length > 0) throw configInvalid([...ofFiles, ...lasting, ...mayPass]);
}

function namingDocument({ document }: Loaded<unknown>, folder: string): NamingDocument | undefined {
  return document === undefined ? undefined : { document, folder };
}

/** Whom the certificate must name; undefined while the names in the file are no names. */
function expectedIdentity(named: NamingDocument, role: Role, key: string): Identity | undefined {
  const cluster = namedName(named, 'cluster');
  const name = namedName(named, key);
  return cluster === undefined || name === undefined ? undefined : { cluster, role, name };
}

/** The authorities of grpc probes. */
function probeProblems(named: NamingDocument): ConfigProblem[] {
  const probes = valueAt(named.document.value, ['probes']);
  if (!Array.isArray(probes)) return [];
  return probes.flatMap((_, at) => authorityProblems(named, ['probes', at, 'tls', 'ca']));
}
