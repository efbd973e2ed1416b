/**
 * When the nodes of a dev cluster are ready. In a new cluster: healthy at the first version. In one that
 * is started again a rollout may be under way, or a node may wait for an operator; there the agents that
 * were started must serve and be reached by the leader, and their services get some time to come back.
 */
import { join } from 'node:path';
import { limits } from '../../config/limits.js';
import type { Node } from '../../gen/plexi/v1/nodes.js';
import type { ClusterClient } from '../client.js';
import { type DevNode, firstVersion, type Layout, type Shape } from './layout.js';
import { isListening } from './ports.js';
import { tellsPortTaken } from './processes.js';
import { type Missing, portTaken, unlessUnavailable, type Waiting, waitUntilReady } from './ready.js';

/** Waits for the nodes whose agents were started. Errors: as `waitUntilReady`. */
export async function waitForNodes(
  waiting: Waiting,
  shape: Shape,
  client: ClusterClient,
  started: readonly string[],
): Promise<void> {
  const nodes = shape.nodes.filter(({ name }) => started.includes(name));
  const servicesUntil = performance.now() + limits.devServiceMs;
  const lacks = async (node: DevNode, listed: Node | undefined): Promise<string | undefined> => {
    // Asked of the processes too: what etcd has about a node may be from before the agent was killed.
    if (!(await isListening(node.grpc))) return 'does not listen';
    if (listed === undefined || listed.unknown || listed.version === '')
      return 'is not reached by the leader';
    if (!shape.settled) return lacksFirstVersion(waiting.layout, node, listed);
    const isServing = performance.now() > servicesUntil || (await isListening(node.service));
    return isServing ? undefined : 'has no running service';
  };
  const look = async (): Promise<Missing[]> => {
    const list = await client.nodes();
    const whats = nodes.map((node) =>
      lacks(
        node,
        list.find(({ id }) => id === node.name),
      ),
    );
    const found = await Promise.all(whats);
    return nodes.flatMap(({ name }, index): Missing[] => {
      const what = found[index];
      return what === undefined ? [] : [{ name, what }];
    });
  };
  await waitUntilReady(waiting, started, () => unlessUnavailable(started[0] ?? '', look));
}

function lacksFirstVersion(layout: Layout, { name }: DevNode, { health, version }: Node): string | undefined {
  // The service's port may be lost to another program too; its agent goes on all the same.
  const log = join(layout.nodeRoot(name), 'run', 'service.log');
  if (tellsPortTaken(log)) throw portTaken(`the service of ${name}`, log);
  if (health === 'healthy' && version === firstVersion) return undefined;
  return `is ${health} at ${version}, not healthy at ${firstVersion}`;
}
