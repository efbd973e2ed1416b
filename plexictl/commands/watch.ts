/** `plexictl watch`: follow the active, the last or the named rollout; ends as `rollout` would have. */
import type { Command } from 'commander';
import { withCluster } from '../client.js';
import { type CliContext, type ConnectionOptions, withConnection } from '../context.js';
import { followRollout } from './follow.js';

/** Adds `watch` to the program. */
export function registerWatch(program: Command, context: CliContext): void {
  const command = program
    .command('watch')
    .summary('follow a rollout')
    .description('Follow the active rollout, else show the last; or the one that is named. Ctrl-C detaches.')
    .argument('[rollout]', 'id of a rollout');
  withConnection(command)
    .addHelpText(
      'after',
      '\nExamples:\n  plexictl watch\n  plexictl watch update_0a1_0b1_20241219_120000 -o jsonl',
    )
    .action((id: string | undefined, options: ConnectionOptions) =>
      withCluster(context, options, (client) => followRollout(context, client, id ?? '')),
    );
}
