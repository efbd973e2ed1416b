/**
 * The words of `plexi-node-agent` for a person on the node: status, rollback, restore, maintenance off,
 * may-start. While the agent runs they go through its local door; while it does not, this program takes the
 * door and does the work itself. `restore` is only for a node whose agent does not run (decision 11).
 */
import { userInfo } from 'node:os';
import type { Command } from 'commander';
import { nanoid } from 'nanoid';
import type { Logger } from 'pino';
import { PlexiError } from '../../config/errors.js';
import type { NodeAgentConfig } from '../../config/schema/node-agent.js';
import { type AgentClock, nodePaths } from '../node.js';
import { refuseOtherUser } from '../start-by-hand.js';
import { askAt, doorOf } from './door.js';
import { assertMayStart } from './may-start.js';
import { obeyOffline, restoreOffline, statusOffline } from './offline.js';
import { outcomeText, statusText } from './render.js';
import {
  type ByHandOutcome,
  type ByHandRequest,
  byHandOutcome,
  nodeDocument,
  parseAnswer,
  parseRequest,
} from './requests.js';

export interface ByHandProgram {
  readonly clock: AgentClock;
  load(file: string): { config: NodeAgentConfig; log: Logger };
}

const configOption = ['--config <file>', 'the configuration, node-agent.yml'] as const;
const reasonOption = ['--reason <text>', 'why, for the record that the controllers get'] as const;

/** Adds the words to the program. */
export function addByHandWords(program: Command, parts: ByHandProgram): void {
  program
    .command('status')
    .description('what this node is at, what it asks for, and what to type next; changes nothing')
    .requiredOption(...configOption)
    .option('-o, --output <form>', 'text or json', 'text')
    .action((options: { config: string; output: string }) => status(parts, options));
  program
    .command('rollback')
    .description(
      'take the open upgrade back, or with --force-after-commit a committed one without migrations',
    )
    .requiredOption(...configOption)
    .requiredOption(...reasonOption)
    .option('--force-after-commit', 'switch to the previous release although the node has committed')
    .action((options: { config: string; reason: string; forceAfterCommit?: true }) =>
      change(parts, options.config, 'rollback', {
        word: 'rollback',
        forceAfterCommit: options.forceAfterCommit === true,
        ...said(options.reason),
      }),
    );
  program
    .command('restore')
    .description('put a node right that holds: unreadable state is set aside; the agent must not run')
    .requiredOption(...configOption)
    .requiredOption(...reasonOption)
    .option('--backup <id>', 'restore data from this backup, and run the version that belongs to it')
    .option(
      '--directory <folder>',
      'where the backup is, relative to the root, if not where the last jobs had it',
    )
    .option('--as-it-is', 'data and release are right as they are')
    .action((options: RestoreOptions) => restore(parts, options));
  program
    .command('maintenance')
    .description('put this node back into service')
    .command('off')
    .description('put this node back into service')
    .requiredOption(...configOption)
    .requiredOption(...reasonOption)
    .action((options: { config: string; reason: string }) =>
      change(parts, options.config, 'maintenance off', { word: 'maintenance_off', ...said(options.reason) }),
    );
  program
    .command('may-start')
    .description(
      "for the service's own unit: exit code 0 when the service may start, 1 with a sentence when not",
    )
    .requiredOption(...configOption)
    .action((options: { config: string }) => assertMayStart(parts.load(options.config).config));
}

interface RestoreOptions {
  config: string;
  reason: string;
  backup?: string;
  directory?: string;
  asItIs?: true;
}

async function status({ load }: ByHandProgram, options: { config: string; output: string }): Promise<void> {
  if (!['text', 'json'].includes(options.output))
    throw new PlexiError('USAGE', `-o knows text and json, not ${options.output}`);
  const { config } = load(options.config);
  await refuseOtherUser(config, 'status', process.geteuid?.());
  const asked = await askAt(doorOf(nodePaths(config.root).run), { word: 'status' });
  const document =
    asked === undefined ? await statusOffline(config) : parseAnswer(asked.answer, nodeDocument);
  process.stdout.write(options.output === 'json' ? `${JSON.stringify(document)}\n` : statusText(document));
}

async function change(
  { load, clock }: ByHandProgram,
  file: string,
  word: string,
  request: Exclude<ByHandRequest, { word: 'status' }>,
): Promise<void> {
  parseRequest(request);
  const { config, log } = load(file);
  await refuseOtherUser(config, word, process.geteuid?.());
  const asked = await askAt(doorOf(nodePaths(config.root).run), request);
  const outcome =
    asked === undefined
      ? await obeyOffline(config, { clock, log }, request)
      : parseAnswer(asked.answer, byHandOutcome);
  tell(config, word, outcome);
}

async function restore({ load, clock }: ByHandProgram, options: RestoreOptions): Promise<void> {
  if ((options.backup === undefined) === (options.asItIs === undefined))
    throw new PlexiError(
      'USAGE',
      'say --backup ID, or --as-it-is when data and release are right as they are',
    );
  const { config, log } = load(options.config);
  await refuseOtherUser(config, 'restore', process.geteuid?.());
  const { by, reason } = said(options.reason);
  const order = { backupId: options.backup, directory: options.directory, by, reason };
  const outcome = await restoreOffline(config, { clock, log }, order, nanoid);
  tell(config, 'restore', outcome, outcome.setAside);
}

/** What came of it; a node that needs hands ends with 4. */
function tell({ node }: NodeAgentConfig, word: string, outcome: ByHandOutcome, aside: string[] = []): void {
  process.stdout.write(outcomeText(node, word, outcome, aside));
  if (outcome.outcome === 'failed') process.exitCode = 1;
  if (outcome.outcome === 'rollback_failed') process.exitCode = 4;
}

function said(reason: string): { by: string; reason: string } {
  if (reason.trim() === '') throw new PlexiError('USAGE', 'say why with --reason TEXT');
  return { by: userName(), reason };
}

/** The user who typed it, as far as the system knows. */
function userName(): string {
  const own = ownName();
  const { SUDO_USER: sudoer } = process.env;
  return sudoer === undefined || sudoer === '' ? own : `${sudoer} as ${own}`.slice(0, 63);
}

function ownName(): string {
  try {
    return userInfo().username;
  } catch {
    // A number without a name.
    return `user ${process.geteuid?.() ?? 'unknown'}`;
  }
}
