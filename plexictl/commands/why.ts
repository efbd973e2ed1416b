/**
 * `plexictl why NODE`: for a node that waits, each reason, since when, and what would let it go on; for
 * one that does not, what it does now. Asks, and changes nothing.
 */
import type { Command } from 'commander';
import { PlexiError } from '../../config/errors.js';
import { withCluster } from '../client.js';
import { type CliContext, type ConnectionOptions, withConnection } from '../context.js';
import { whyDocument } from '../render/documents.js';
import { whyOf, whyText } from '../render/why.js';
import { nodeName } from './option-values.js';

/** Adds `why` to the program. */
export function registerWhy(program: Command, context: CliContext): void {
  const command = program
    .command('why')
    .summary('why a node waits, and what would let it go on')
    .description(
      'Say why a node waits: each reason, since when, and what would unblock it. For a node that does not wait, say what it does now.',
    )
    .argument('<node>', "the node's name");
  withConnection(command)
    .addHelpText('after', '\nExamples:\n  plexictl why node-2\n  plexictl why node-2 -o json')
    .action((name: string, options: ConnectionOptions) => {
      const nodeId = nodeName('NODE', name);
      return withCluster(context, options, async (client) => {
        const { cluster } = client.identity;
        const [status, nodes, { recovery }] = await Promise.all([
          client.status(''),
          client.nodes(),
          client.cluster(),
        ]);
        const node = nodes.find(({ id }) => id === nodeId);
        if (node === undefined) {
          throw new PlexiError(
            'NOT_FOUND',
            `cluster ${cluster} has no node ${nodeId}; \`plexictl nodes\` lists those that it has`,
            { details: { cluster, node: nodeId } },
          );
        }
        const why = whyOf(node, status, recovery);
        context.show(whyDocument(why, cluster), () => whyText(why, cluster, Date.now()));
      });
    });
}
