/**
 * `plexictl pause`, `resume`, `abort`, `retry` and `skip`: an operator's word on a rollout. Each answers once
 * the leader has put it in force or refused it, so "paused" on the terminal is true in the cluster.
 */
import type { Command } from 'commander';
import { type ClusterClient, withCluster } from '../client.js';
import { type CliContext, type ConnectionOptions, withConnection } from '../context.js';
import { followRollout } from './follow.js';
import { checkedReason, nodeName } from './option-values.js';

interface ControlOptions extends ConnectionOptions {
  readonly reason?: string;
  readonly watch?: boolean;
  readonly node?: string;
}

/** Adds `pause`, `resume`, `abort`, `retry` and `skip` to the program. */
export function registerControl(program: Command, context: CliContext): void {
  registerPause(program, context);
  registerResume(program, context);
  registerAbort(program, context);
  registerNodeWords(program, context);
}

/** Adds `pause` to the program, or under another word. */
export function registerPause(parent: Command, context: CliContext): void {
  const pause = parent.command('pause').summary('start no further node');
  pause.description('Let the nodes in flight finish and start no further one.');
  act(pause, context, 'paused', 'plexictl pause --reason "disk alarm on node-2"', (client, reason) =>
    client.pause('', reason),
  );
}

/** Adds `resume` to the program, or under another word. */
export function registerResume(parent: Command, context: CliContext): void {
  const resume = parent.command('resume').summary('go on with a paused rollout');
  resume.description('Go on with the paused rollout.');
  act(resume, context, 'resumed', 'plexictl resume -w', (client, reason) => client.resume('', reason));
}

function registerAbort(program: Command, context: CliContext): void {
  const abort = program.command('abort').summary('end the active rollout midway');
  abort
    .description(
      'End the active rollout: no further node starts, those in flight that have not committed go back, the others finish, and versions stay mixed.',
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
}

/** `retry` and `skip` are about one node of the active rollout. */
function registerNodeWords(program: Command, context: CliContext): void {
  const retry = program.command('retry').summary('try a node again that failed and went back');
  retry
    .description('Try a node of the active rollout again that failed and went back.')
    .requiredOption('--node <name>', 'the node to try again');
  act(retry, context, 'is tried again', 'plexictl retry --node node-2', askForNode('retry'));

  const skip = program.command('skip').summary('leave a node out of the active rollout');
  skip
    .description('Leave a node out of the active rollout. It must not be out of service because of it.')
    .requiredOption('--node <name>', 'the node to leave out');
  act(skip, context, 'is left out', 'plexictl skip --node node-2 --reason "no disk"', askForNode('skip'));
}

function askForNode(word: 'retry' | 'skip') {
  return (client: ClusterClient, reason: string, { node }: { readonly node: string }): Promise<string> =>
    client[word](nodeName('--node', node), reason);
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
        const { cluster } = client.identity;
        const node = options.node === undefined ? {} : { node: options.node };
        const whose = options.node === undefined ? '' : `${options.node} `;
        const inCluster = `${id} in cluster ${cluster}: ${whose}${done}`;
        if (options.watch === true) {
          context.stderr(`${inCluster}\n`);
          return followRollout(context, client, id);
        }
        context.show(
          { cluster, rollout: id, ...node },
          () => `${inCluster}; follow it with \`plexictl watch ${id}\``,
        );
      });
    });
}
