/** `plexictl history`: the rollouts that were, newest first. */
import type { Command } from 'commander';
import { limits } from '../../config/limits.js';
import { withCluster } from '../client.js';
import { type CliContext, type ConnectionOptions, withConnection } from '../context.js';
import { historyDocument } from '../render/documents.js';
import { historyText } from '../render/history.js';
import { wholeNumber } from './option-values.js';

/** Adds `history` to the program. */
export function registerHistory(program: Command, context: CliContext): void {
  const command = program
    .command('history')
    .summary('the rollouts that were')
    .description('Show finished rollouts and the active one, newest first.')
    .option('--limit <n>', 'how many', wholeNumber('--limit', 1, limits.historyRollouts), 20);
  withConnection(command)
    .addHelpText('after', '\nExamples:\n  plexictl history --limit 5\n  plexictl history -o wide')
    .action((options: ConnectionOptions & { readonly limit: number }) =>
      withCluster(context, options, async (client) => {
        const rollouts = await client.history(options.limit);
        context.show(historyDocument(rollouts), () => historyText(rollouts, context.output() === 'wide'));
      }),
    );
}
