/**
 * `plexictl freeze on|off`: while it is on, no new rollout starts; one that runs goes on. The freeze is
 * the cluster's and not this terminal's, so it says who turned it on and why to everybody who asks.
 */
import type { Command } from 'commander';
import { withCluster } from '../client.js';
import { type CliContext, withConnection } from '../context.js';
import type { ChangeOptions } from './change-node.js';
import { checkedReason, onOrOff, requiredReason } from './option-values.js';

/** Adds `freeze` to the program. */
export function registerFreeze(program: Command, context: CliContext): void {
  const command = program
    .command('freeze')
    .summary('let no new rollout start, or let them start again')
    .description('Let no new rollout start while it is on. A rollout that runs goes on.')
    .argument('<on|off>', 'on: no new rollout starts')
    .option('--reason <text>', 'why; needed to turn it on');
  withConnection(command)
    .addHelpText('after', '\nExamples:\n  plexictl freeze on --reason "holidays"\n  plexictl freeze off')
    .action((word: string, options: ChangeOptions) => {
      const on = onOrOff(word, 'plexictl freeze on --reason TEXT');
      const reason = on ? requiredReason(options.reason) : checkedReason(options.reason);
      return withCluster(context, options, async (client) => {
        await client.setFreeze(on, reason);
        const { cluster } = client.identity;
        context.show({ cluster, frozen: on, reason: reason === '' ? null : reason }, () =>
          on
            ? `cluster ${cluster} is frozen: no new rollout starts until \`plexictl freeze off\``
            : `cluster ${cluster} is not frozen any more: rollouts may start`,
        );
      });
    });
}
