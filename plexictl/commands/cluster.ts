/**
 * `plexictl cluster re-epoch`: an operator's word that etcd was restored from a snapshot on purpose. It is
 * asked for before it is done, since it makes the cluster forget what the newest etcd knew.
 */
import type { Command } from 'commander';
import type { ReEpochResponse } from '../../gen/plexi/v1/cluster.js';
import { withCluster } from '../client.js';
import { type CliContext, withConnection } from '../context.js';
import { printable } from '../render/cells.js';
import type { ChangeOptions } from './change-node.js';
import { confirmed } from './confirm.js';
import { checkedReason } from './option-values.js';

interface ReEpochOptions extends ChangeOptions {
  readonly yes?: boolean;
}

/** Adds `cluster` to the program. */
export function registerCluster(program: Command, context: CliContext): void {
  const cluster = program
    .command('cluster')
    .summary('what concerns the cluster as a whole')
    .description('What concerns the cluster as a whole: the word of an operator after a restore of etcd.')
    .addHelpText('after', '\nExample:\n  plexictl cluster re-epoch --reason "etcd restored from Monday"');
  const command = cluster
    .command('re-epoch')
    .summary('go on with an etcd that was restored from a snapshot')
    .description(
      'Say that etcd was restored from a snapshot on purpose. The epoch is raised, so that nodes obey the restored cluster and nobody older; no node is taken out of service before every node was adopted anew or removed.',
    )
    .option('--reason <text>', 'why, for the record')
    .option('-y, --yes', 'do not ask');
  withConnection(command)
    .addHelpText('after', '\nExample:\n  plexictl cluster re-epoch --reason "etcd restored from Monday"')
    .action((options: ReEpochOptions) => {
      const reason = checkedReason(options.reason);
      return withCluster(context, options, async (client) => {
        const { cluster: name } = client.identity;
        if (options.yes !== true)
          await confirmed(context, name, 'Take the etcd that stands now for the truth');
        const done = await client.reEpoch(reason);
        context.show(reEpochDocument(done, name), () => reEpochText(done, name));
      });
    });
}

function reEpochDocument({ epoch, previousEpoch, nodes }: ReEpochResponse, cluster: string) {
  return {
    cluster,
    epoch: Number(epoch),
    previousEpoch: Number(previousEpoch),
    nodes: nodes.map(({ id, reached, seenEpoch, adopted }) => ({
      id,
      reached,
      seenEpoch: reached ? Number(seenEpoch) : null,
      adopted,
    })),
  };
}

function reEpochText({ epoch, previousEpoch, nodes }: ReEpochResponse, cluster: string): string {
  const awaited = nodes.filter(({ adopted }) => !adopted);
  const lines = [
    `cluster ${cluster} goes on with this etcd: its epoch is ${epoch} (it was ${previousEpoch}), and whoever led before is refused`,
    `${nodes.length - awaited.length} of ${nodes.length} nodes are adopted`,
  ];
  if (awaited.length > 0) lines.push('no node is taken out of service before these are adopted too:');
  for (const { id, reached } of awaited) {
    lines.push(
      reached
        ? `  ${id}: its agent answers and is not adopted yet; see \`plexictl why ${id}\``
        : `  ${id}: its agent does not answer; start it, or say \`plexictl node remove ${id}\` when it is gone`,
    );
  }
  return `${lines.map((line) => (line.startsWith('  ') ? `  ${printable(line.slice(2))}` : printable(line))).join('\n')}\n`;
}
