/**
 * The program around the commands: parses the words, runs one command, and turns whatever was thrown
 * into one sentence on stderr and one exit code of the contract (section 2). With a machine form the
 * last line of stderr is the error document. Nothing that is thrown may end as a bare stack trace.
 */
import { Command, CommanderError } from 'commander';
import { didYouMean } from '../config/did-you-mean.js';
import { type ErrorCode, PlexiError } from '../config/errors.js';
import { ownVersion } from '../config/own-version.js';
import { registerKubectlRolloutWords, registerUpdateWords } from './commands/aliases.js';
import { registerAudit } from './commands/audit.js';
import { registerCerts } from './commands/certs.js';
import { registerCluster } from './commands/cluster.js';
import { registerControl } from './commands/control.js';
import { registerDev } from './commands/dev.js';
import { RolloutEnded } from './commands/follow.js';
import { registerFreeze } from './commands/freeze.js';
import { registerHistory } from './commands/history.js';
import { Interrupted } from './commands/interrupted.js';
import { registerLogs } from './commands/logs.js';
import { registerKubectlNodeWords } from './commands/node-hold.js';
import { registerNodes } from './commands/nodes.js';
import { registerRelease } from './commands/release.js';
import { registerRollback } from './commands/rollback.js';
import { registerRollout } from './commands/rollout.js';
import { registerStatus } from './commands/status.js';
import { registerVersion } from './commands/version.js';
import { registerWatch } from './commands/watch.js';
import { registerWhy } from './commands/why.js';
import {
  type CliContext,
  isMachineOutput,
  type OutputFormat,
  outputFormats,
  type ProcessContext,
} from './context.js';
import { printable } from './render/cells.js';

/** Runs one command line (without node and script) and returns its exit code. */
export async function runProgram(words: readonly string[], context: ProcessContext): Promise<number> {
  context.setOutput(outputAskedFor(words));
  const root = program(context);
  try {
    await root.parseAsync([...words], { from: 'user' });
    return context.exitCode();
  } catch (thrown) {
    return tell(thrown, context, root);
  }
}

/** All words of plexictl, not run yet. */
export function program(context: ProcessContext): Command {
  const root = new Command('plexictl')
    .description(
      'Rolling updates for services on plain hosts: code and data go forward together, and back together.',
    )
    .version(ownVersion, '-V, --version', 'print the version of plexictl')
    // An option belongs to the word before it: `version compare … -o json` is compare's.
    .enablePositionalOptions()
    .exitOverride()
    .configureOutput({
      writeOut: context.stdout,
      writeErr: context.stderr,
      outputError: leaveTheErrorToTheCaller,
    })
    .hook('preAction', (_, command) => context.setOutput(formatOf(command)))
    .addHelpText(
      'after',
      '\nExample:\n  plexictl rollout --to 0b1 --dry-run\n\n`plexictl COMMAND --help` tells more about each word.',
    );
  registerAll(root, context);
  refuseUnknownWords(root);
  return root;
}

function registerAll(root: Command, context: CliContext): void {
  registerKubectlRolloutWords(registerRollout(root, context), context);
  registerStatus(root, context);
  registerWatch(root, context);
  registerWhy(root, context);
  registerControl(root, context);
  registerRollback(root, context);
  registerHistory(root, context);
  registerAudit(root, context);
  registerLogs(root, context);
  registerFreeze(root, context);
  registerCluster(root, context);
  registerNodes(root, context);
  registerKubectlNodeWords(root, context);
  registerRelease(root, context);
  registerCerts(root, context);
  registerDev(root, context);
  registerVersion(root, context);
  registerUpdateWords(root, context);
}

/**
 * A word that does something itself and has words under it would take an unknown one for an argument,
 * and say no more than that it takes none.
 */
function refuseUnknownWords(command: Command): void {
  for (const under of command.commands) refuseUnknownWords(under);
  if (command.commands.length === 0 || command.registeredArguments.length > 0) return;
  command.allowExcessArguments(true).hook('preAction', (_, acting) => {
    const [word] = acting.args;
    if (acting !== command || word === undefined) return;
    const known = command.commands.map((under) => under.name());
    const sentence = `unknown word '${word}' after ${pathOf(command)}${didYouMean(word, known)}`;
    throw new PlexiError('USAGE', `${sentence}; see \`${pathOf(command)} --help\``);
  });
}

/** A command as it is typed. */
function pathOf(command: Command): string {
  return command.parent === null ? command.name() : `${pathOf(command.parent)} ${command.name()}`;
}

/** commander would print its own error; `tell` says it in our form. */
function leaveTheErrorToTheCaller(): void {}

function formatOf(command: Command): OutputFormat {
  const asked: unknown = command.opts().output;
  return outputFormats.find((format) => format === asked) ?? 'text';
}

/** The form asked for, read before parsing, so that a usage error has the right form too. */
function outputAskedFor(words: readonly string[]): OutputFormat {
  const line = words.join('\n');
  const asked = /(?:^|\n)(?:-o|--output)[\n=]?([a-z]+)(?:\n|$)/.exec(line)?.[1];
  return outputFormats.find((format) => format === asked) ?? 'text';
}

interface Told {
  readonly code: ErrorCode;
  readonly message: string;
  readonly details: Readonly<Record<string, unknown>>;
  readonly exitCode: number;
}

/** Says what was thrown, and returns the exit code. */
function tell(thrown: unknown, context: ProcessContext, root: Command): number {
  if (thrown instanceof CommanderError && thrown.exitCode === 0) return 0;
  if (thrown instanceof CommanderError && thrown.code === 'commander.help') return 2;
  const told = toldOf(thrown, root);
  if (context.environment.PLEXI_DEBUG === '1' && thrown instanceof Error) context.stderr(`${thrown.stack}\n`);
  context.stderr(`plexictl: ${printable(told.message)}\n`);
  if (isMachineOutput(context.output())) {
    const { code, message, details } = told;
    context.stderr(`${JSON.stringify({ error: { code, message, details } })}\n`);
  }
  return told.exitCode;
}

function toldOf(thrown: unknown, root: Command): Told {
  if (thrown instanceof PlexiError || thrown instanceof RolloutEnded || thrown instanceof Interrupted)
    return thrown;
  if (thrown instanceof CommanderError)
    return { code: 'USAGE', message: usageSentence(thrown, root), details: {}, exitCode: 2 };
  const reason = thrown instanceof Error ? thrown.message : String(thrown);
  const message = `something unforeseen happened: ${reason} (set PLEXI_DEBUG=1 for more)`;
  return { code: 'INTERNAL', message, details: {}, exitCode: 1 };
}

/** commander's words, without its prefix and on one line, and where a misplaced word belongs. */
function usageSentence(error: CommanderError, root: Command): string {
  const sentence = error.message
    .replace(/^error: /, '')
    .replace(/\s*\n\s*/g, ' ')
    .replace(/\.$/, '');
  const unknown = error.code === 'commander.unknownCommand' ? /'(.*)'/.exec(sentence)?.[1] : undefined;
  const elsewhere = unknown === undefined ? [] : pathsNamed(root, unknown);
  if (elsewhere.length === 0) return `${sentence}; see \`plexictl --help\``;
  return `unknown command '${unknown}'; it is ${elsewhere.join(' or ')}`;
}

/** Where a word stands, wherever that is, as it is typed. */
function pathsNamed(command: Command, word: string): string[] {
  return command.commands.flatMap((under) => [
    ...(under.name() === word ? [`\`${pathOf(under)}\``] : []),
    ...pathsNamed(under, word),
  ]);
}
