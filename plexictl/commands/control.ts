/**
 * `plexictl pause`, `resume`, `abort` and `rollback`: an operator's word on a rollout. Each answers once
 * the leader has put it in force or refused it, so "paused" on the terminal is true in the cluster.
 */
import type { Command } from 'commander';
import { nanoid } from 'nanoid';
import { type ClusterClient, withCluster } from '../client.js';
import { type CliContext, type ConnectionOptions, withConnection } from '../context.js';
import { followRollout } from './follow.js';
import { checkedReason } from './option-values.js';

interface ControlOptions extends ConnectionOptions {
  readonly reason?: string;
  readonly watch?: boolean;
}

/** Adds `pause`, `resume`, `abort` and `rollback` to the program. */
export function registerControl(program: Command, context: CliContext): void {
  const pause = program.command('pause').summary('start no further node');
  pause.description('Let the nodes in flight finish and start no further one.');
  act(pause, context, 'paused', 'plexictl pause --reason "disk alarm on node-2"', (client, reason) =>
    client.pause('', reason),
  );

  const resume = program.command('resume').summary('go on with a paused rollout');
  resume.description('Go on with the paused rollout.');
  act(resume, context, 'resumed', 'plexictl resume -w', (client, reason) => client.resume('', reason));

  const abort = program.command('abort').summary('end the active rollout midway');
  abort
    .description(
      'End the active rollout: nodes in flight finish, no further one starts, and versions stay mixed.',
    )
    .option('--rollback', 'take the touched nodes back too');
  act(
    abort,
    context,
    'aborted',
    'plexictl abort --rollback',
    (client, reason, options: { readonly rollback?: boolean }) =>
      client.abort('', options.rollback === true, reason),
  );

  const rollback = program.command('rollback').summary('take a finished rollout back');
  rollback
    .description('Take the last finished rollout back, or the one that is named: code and data together.')
    .option('--update-id <id>', 'id of the rollout to take back');
  act(
    rollback,
    context,
    'started',
    'plexictl rollback --update-id update_0a1_0b1_20241219_120000',
    (client, reason, options: { readonly updateId?: string }) =>
      client.rollback(options.updateId ?? '', reason, nanoid()),
  );
}

/** One word: ask for it, say for which rollout it is in force, and follow that one when asked to. */
function act<Options extends object>(
  command: Command,
  context: CliContext,
  done: string,
  example: string,
  ask: (client: ClusterClient, reason: string, options: Options) => Promise<string>,
): void {
  command
    .option('--reason <text>', 'why, for the record')
    .option('-w, --watch', 'follow the rollout afterwards');
  withConnection(command)
    .addHelpText('after', `\nExample:\n  ${example}`)
    .action((options: ControlOptions & Options) => {
      const reason = checkedReason(options.reason);
      return withCluster(context, options, async (client) => {
        const id = await ask(client, reason, options);
        if (options.watch === true) return followRollout(context, client, id);
        const inCluster = `${id} in cluster ${client.identity.cluster}: ${done}`;
        context.show({ rollout: id }, () => `${inCluster}; follow it with \`plexictl watch ${id}\``);
      });
    });
}
