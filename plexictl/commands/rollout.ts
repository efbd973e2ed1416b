/**
 * `plexictl rollout` and `plexictl downgrade`: their options and their help. What is asked for is put
 * together in rollout-request.ts, and run in run-rollout.ts.
 */
import type { Command } from 'commander';
import { limits } from '../../config/limits.js';
import { type CliContext, withConnection } from '../context.js';
import { wholeNumber } from './option-values.js';
import { type RequestOptions, requestOf } from './rollout-request.js';
import { type RunOptions, runRollout, withRunOptions } from './run-rollout.js';

type RolloutOptions = RequestOptions & RunOptions;

/** Adds `rollout` and `downgrade` to the program; returns `rollout`, for the words under it. */
export function registerRollout(program: Command, context: CliContext): Command {
  const rollout = program.command('rollout');
  rolloutCommand(rollout, context, 'plexictl rollout');
  registerDowngrade(program.command('downgrade'), context, 'plexictl downgrade');
  return rollout;
}

/** Makes `command` the one that goes to a version; `words` are how it is called, for its help. */
export function rolloutCommand(command: Command, context: CliContext, words: string): void {
  command
    .summary('go to a version, node by node')
    .description('Plan a rollout, show the plan, ask, start it and follow it to its end.')
    .option('--to <version>', 'version to go to, such as 0b1')
    .option('--latest', 'go to the newest version in the repository')
    .option('--stable', 'go to the newest stable version in the repository')
    .option('--restart', 'also restart the nodes that run this version already')
    .option('--stage-only', 'bring the release to every node and end there')
    .option('--skip-tests', "do not run the release's own tests");
  withRolloutOptions(command)
    .addHelpText('after', rolloutHelp(words))
    .action((options: RolloutOptions) => {
      const request = requestOf(options, false);
      return runRollout(context, options, () => request);
    });
}

/** Makes `command` the one that goes to an older version. */
export function registerDowngrade(command: Command, context: CliContext, words: string): void {
  command
    .summary('go to an older version, node by node')
    .description('The same as rollout, towards an older version.')
    .requiredOption('--to <version>', 'older version to go to, such as 0a1')
    .option('--stage-only', 'bring the release to every node and end there')
    .option('--skip-tests', "do not run the release's own tests");
  withRolloutOptions(command)
    .addHelpText('after', `\nExample:\n  ${words} --to 0a1 --dry-run`)
    .action((options: RolloutOptions) => {
      const request = requestOf(options, true);
      return runRollout(context, options, () => request);
    });
}

/** Adds the options that say which nodes, in which order, how many at a time, and how it is run. */
export function withRolloutOptions(command: Command): Command {
  return withConnection(withRunOptions(withNodeOptions(command)));
}

function withNodeOptions(command: Command): Command {
  return command
    .option(
      '--max-concurrent <n>',
      'nodes out of service at a time',
      wholeNumber('--max-concurrent', 1, limits.nodes),
    )
    .option('--canary <n>', 'so many nodes go first and alone', wholeNumber('--canary', 1, limits.nodes))
    .option('--canary-selector <key=value>', 'nodes with this label go first and alone')
    .option('--node <names...>', 'only these nodes')
    .option('--selector <key=value...>', 'only nodes with all of these labels')
    .option('--exclude <names...>', 'not these nodes');
}

function rolloutHelp(words: string): string {
  return `
Examples:
  ${words} --to 0b1 --dry-run
  ${words} --to 0b1 --max-concurrent 2 --canary 1
  ${words} --to 0b1 --yes -o json

Exit codes: 0 done or nothing to do; 1 failed and taken back; 2 usage or
configuration; 3 refused before any node was touched; 4 an operator is needed;
5 stopped midway; 6 no controller; 130 detached with Ctrl-C (it goes on).`;
}
