/**
 * One change to one node, for every word that makes one: ask for it, then say what was done, on which
 * node and in which cluster, so that a change to the wrong cluster shows at once.
 */
import { type ClusterClient, withCluster } from '../client.js';
import type { CliContext, ConnectionOptions } from '../context.js';

/** The options of a word that changes something. */
export interface ChangeOptions extends ConnectionOptions {
  readonly reason?: string;
}

/** Asks for the change and says `done`. Errors: those of `act`, and of finding the cluster. */
export function changeNode(
  context: CliContext,
  options: ConnectionOptions,
  node: string,
  act: (client: ClusterClient) => Promise<unknown>,
  done: string,
): Promise<void> {
  return withCluster(context, options, async (client) => {
    await act(client);
    const { cluster } = client.identity;
    context.show({ cluster, node, result: done }, () => `node ${node} of cluster ${cluster}: ${done}`);
  });
}
