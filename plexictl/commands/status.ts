/** `plexictl status`: who leads, and how the active, the last or the named rollout stands now. */
import type { Command } from 'commander';
import { withCluster } from '../client.js';
import { type CliContext, type ConnectionOptions, withConnection } from '../context.js';
import { statusDocument } from '../render/documents.js';
import { statusText } from '../render/status.js';
import { followRollout } from './follow.js';

/** Adds `status` to the program. */
export function registerStatus(program: Command, context: CliContext): void {
  const command = program
    .command('status')
    .summary('how things stand now')
    .description('Show the leader and the active rollout, else the last; or the one that is named.')
    .argument('[rollout]', 'id of a rollout')
    .option('-w, --watch', 'follow it, as `plexictl watch` does');
  withConnection(command)
    .addHelpText(
      'after',
      '\nExamples:\n  plexictl status\n  plexictl status update_0a1_0b1_20241219_120000 -o json',
    )
    .action((id: string | undefined, options: ConnectionOptions & { readonly watch?: boolean }) =>
      withCluster(context, options, async (client) => {
        if (options.watch === true) return followRollout(context, client, id ?? '');
        const status = await client.status(id ?? '');
        context.show(statusDocument(status, client.identity.cluster), () =>
          statusText(status, Date.now(), context.output() === 'wide'),
        );
      }),
    );
}
