/**
 * `plexictl node adopt|confirm`: the operator says what a node runs. `adopt` makes a service that was
 * started by other means the cluster's own, without stopping it; `confirm` says that a node which was
 * put right by hand is right. Both are checked on the node before anything counts, and both go on there
 * when nobody waits for them any more.
 */
import type { Command } from 'commander';
import { PlexiError } from '../../config/errors.js';
import type { TakeOverRequest } from '../../gen/plexi/v1/nodes.js';
import { type ClusterClient, withCluster } from '../client.js';
import { type CliContext, withConnection } from '../context.js';
import type { ChangeOptions } from './change-node.js';
import { Interrupted } from './interrupted.js';
import { checkedReason, checkedVersion, nodeName, requiredReason } from './option-values.js';

interface TakeOverOptions extends ChangeOptions {
  readonly version: string;
  readonly dir?: string;
}

/** Adds `adopt` and `confirm` under `node`. */
export function registerTakeOver(node: Command, context: CliContext): void {
  const adopt = node
    .command('adopt')
    .summary('take over a service that runs already')
    .description(
      "Make a service that runs on the node already the cluster's own, without stopping it. The node must have an agent and no release yet.",
    )
    .argument('<node>', "the node's name")
    .requiredOption('--version <version>', 'version that runs there')
    .option('--dir <dir>', 'folder on the node that it runs from, absolute')
    .option('--reason <text>', 'why, for the record');
  withConnection(adopt)
    .addHelpText('after', '\nExample:\n  plexictl node adopt node-3 --version 3.0.0 --dir /srv/chat')
    .action((name: string, options: TakeOverOptions) =>
      takeOver(context, name, options, checkedReason(options.reason), false),
    );
  const confirm = node
    .command('confirm')
    .summary('say that a node was put right by hand')
    .description(
      'Say which version a node runs after somebody put it right by hand. The node checks it; then it needs no operator any more.',
    )
    .argument('<node>', "the node's name")
    .requiredOption('--version <version>', 'version that runs there')
    .option('--dir <dir>', 'folder on the node that it runs from, absolute')
    .requiredOption('--reason <text>', 'what was done, for the record');
  withConnection(confirm)
    .addHelpText(
      'after',
      '\nExample:\n  plexictl node confirm node-3 --version 0a1 --reason "restored by hand"',
    )
    .action((name: string, options: TakeOverOptions) =>
      takeOver(context, name, options, requiredReason(options.reason), true),
    );
}

function takeOver(
  context: CliContext,
  name: string,
  options: TakeOverOptions,
  reason: string,
  confirm: boolean,
): Promise<void> {
  const nodeId = nodeName('NODE', name);
  const version = checkedVersion('--version', options.version);
  const directory = checkedFolder(options.dir);
  return withCluster(context, options, async (client) => {
    const digest = await untilTold(context, client, { nodeId, version, directory, confirm, reason });
    const { cluster } = client.identity;
    const result = confirm ? `runs ${version}, confirmed` : `${version} taken over`;
    context.show(
      { cluster, node: nodeId, version, digest: digest === '' ? null : digest, result },
      () => `node ${nodeId} of cluster ${cluster}: ${result}`,
    );
  });
}

/**
 * Asks for the order and waits for its end; returns the digest. Files may have to be copied, so a wait that
 * ends early is no end of the order, and both sentences for it say where the end will be seen.
 */
async function untilTold(
  context: CliContext,
  client: ClusterClient,
  request: TakeOverRequest,
): Promise<string> {
  const { signal, release } = context.interruptible();
  const { cluster } = client.identity;
  const { nodeId } = request;
  const details = { cluster, node: nodeId };
  const look = `\`plexictl why ${nodeId}\` shows it`;
  try {
    return await client.takeOver(request, signal);
  } catch (thrown) {
    if (signal.aborted) throw new Interrupted(`detached; what was ordered goes on, and ${look}`, details);
    if (!(thrown instanceof PlexiError) || thrown.code !== 'TIMED_OUT') throw thrown;
    throw new PlexiError(
      'TIMED_OUT',
      `node ${nodeId} of cluster ${cluster} has not told the end of the order yet; it goes on, and ${look}`,
      { cause: thrown, details },
    );
  } finally {
    release();
  }
}

/** The folder is one of the node's, so a relative one would be taken from nobody knows where. */
function checkedFolder(folder: string | undefined): string {
  if (folder === undefined) return '';
  if (folder.startsWith('/')) return folder;
  throw new PlexiError('USAGE', `--dir: "${folder}" is not absolute; write the folder on the node from /`);
}
