/**
 * `plexictl node reinstall NODE`: the version that a node runs, once more and from the repository. It is
 * a rollout of one node like any other: planned, shown, confirmed, followed, and taken back when it
 * fails.
 */
import type { Command } from 'commander';
import { PlexiError } from '../../config/errors.js';
import { RolloutRequest } from '../../gen/plexi/v1/rollouts.js';
import type { ClusterClient } from '../client.js';
import { type CliContext, withConnection } from '../context.js';
import { checkedReason, nodeName } from './option-values.js';
import { type RunOptions, runRollout, withRunOptions } from './run-rollout.js';

interface ReinstallOptions extends RunOptions {
  readonly force?: boolean;
  readonly reason?: string;
}

/** Adds `reinstall` under `node`. */
export function registerReinstall(node: Command, context: CliContext): void {
  const command = withRunOptions(
    node
      .command('reinstall')
      .summary('install the version of a node anew')
      .description(
        'Install the version that a node runs once more, from the repository. What was changed in it by hand goes; its data stays.',
      )
      .argument('<node>', "the node's name"),
  );
  withConnection(command)
    .addHelpText('after', '\nExample:\n  plexictl node reinstall node-2 --dry-run')
    .action((name: string, options: ReinstallOptions) => {
      const nodeId = nodeName('NODE', name);
      const reason = checkedReason(options.reason);
      return runRollout(context, options, async (client) =>
        RolloutRequest.fromPartial({
          to: await versionOf(client, nodeId),
          nodes: [nodeId],
          reinstall: true,
          force: options.force === true,
          reason,
        }),
      );
    });
}

async function versionOf(client: ClusterClient, nodeId: string): Promise<string> {
  const node = (await client.nodes()).find(({ id }) => id === nodeId);
  const { cluster } = client.identity;
  if (node === undefined) {
    throw new PlexiError(
      'NOT_FOUND',
      `cluster ${cluster} has no node ${nodeId}; \`plexictl nodes\` lists those that it has`,
    );
  }
  if (node.version !== '' && node.version !== 'none') return node.version;
  const known = node.version === 'none' ? 'has no release' : 'never said what it runs';
  throw new PlexiError(
    'PLAN_REFUSED',
    `${nodeId} of cluster ${cluster} ${known}; install one with \`plexictl rollout --to VERSION --node ${nodeId}\``,
  );
}
