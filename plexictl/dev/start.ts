/**
 * The order in which a dev cluster starts, which is the order of need: etcd, controllers, the nodes'
 * labels, a first release on each node, node agents. Each step is skipped for what is there already, so
 * the same walk makes a new cluster and brings back what was killed.
 */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { asPlexiError, PlexiError } from '../../config/errors.js';
import { type ClusterClient, openCluster } from '../client.js';
import { counted } from './counted.js';
import { etcdProcess, isEtcdHealthy } from './etcd.js';
import { etcdBinaries, launcher } from './installation.js';
import { type DevNode, firstVersion, type Layout, type Shape } from './layout.js';
import { waitForNodes } from './nodes-ready.js';
import { ensureRunning } from './processes.js';
import { type Missing, unlessUnavailable, type Waiting, waitUntilReady } from './ready.js';

/** Nodes that are installed at a time: each is a process of its own, on a machine with few cores. */
const installsAtOnce = 4;

/** Starts what is not running and waits until the cluster answers for it. Returns the names of what was started. */
export async function startProcesses(waiting: Waiting, shape: Shape): Promise<string[]> {
  const started = [...(await startEtcd(waiting, shape)), ...(await startControllers(waiting.layout, shape))];
  await installNodes(waiting, shape);
  const client = openCluster({ config: waiting.layout.clientFile }, {});
  try {
    await waitForControllers(waiting, shape, client);
    await addNodes(client, shape);
    const agents = await startAgents(waiting.layout, shape);
    await waitForNodes(waiting, shape, client, agents);
    if (agents.length > 0) waiting.say(`${counted(agents.length, 'node agent')}: ready`);
    return [...started, ...agents];
  } finally {
    client.close();
  }
}

async function startEtcd(waiting: Waiting, shape: Shape): Promise<string[]> {
  const { layout, say } = waiting;
  const { etcd } = await etcdBinaries(say);
  const started: string[] = [];
  for (const member of shape.etcd) {
    if (await ensureRunning(layout, etcdProcess(layout, shape, member, etcd))) started.push(member.name);
  }
  await waitUntilReady(waiting, names(shape.etcd), async () => {
    const healthy = await Promise.all(shape.etcd.map((member) => isEtcdHealthy(layout, member)));
    return shape.etcd.filter((_, index) => healthy[index] !== true).map(missing('is not healthy'));
  });
  if (started.length > 0) say(`${counted(shape.etcd.length, 'etcd member')}: healthy`);
  return started;
}

async function startControllers(layout: Layout, shape: Shape): Promise<string[]> {
  const started: string[] = [];
  for (const { name, grpc, http } of shape.controllers) {
    const spec = {
      name,
      argv: [process.execPath, launcher('plexi-controller'), '--config', layout.config(name)] as const,
      endpoint: `127.0.0.1:${grpc}`,
      http: `https://localhost:${http}`,
    };
    if (await ensureRunning(layout, spec)) started.push(name);
  }
  return started;
}

async function installNodes({ layout, interrupt, say }: Waiting, shape: Shape): Promise<void> {
  const bare = shape.nodes.filter((node) => isBare(layout, node));
  for (let index = 0; index < bare.length; index += installsAtOnce) {
    interrupt.throwIfAborted();
    await Promise.all(bare.slice(index, index + installsAtOnce).map((node) => install(layout, node)));
  }
  if (bare.length > 0) say(`${counted(bare.length, 'node')}: ${firstVersion} installed`);
}

async function install(layout: Layout, node: DevNode): Promise<void> {
  const words = ['install', '--config', layout.config(node.name), '--version', firstVersion];
  try {
    await promisify(execFile)(process.execPath, [launcher('plexi-node-agent'), ...words]);
  } catch (thrown) {
    throw asPlexiError(thrown, 'INTERNAL', `${node.name} could not be installed with ${firstVersion}`);
  }
  if (isBare(layout, node))
    throw new PlexiError('INTERNAL', `${node.name} has no release after its installation`);
}

function isBare(layout: Layout, { name }: DevNode): boolean {
  return !existsSync(join(layout.nodeRoot(name), 'current'));
}

/** Every replica answers, and one of them leads. */
async function waitForControllers(waiting: Waiting, shape: Shape, client: ClusterClient): Promise<void> {
  const look = async (): Promise<Missing[]> => {
    const replicas = await client.reachability();
    const silent = shape.controllers.filter((_, index) => replicas[index]?.reachable !== true);
    if (silent.length > 0) return silent.map(missing('does not answer'));
    const { leader } = await client.status('');
    return leader === undefined ? shape.controllers.map(missing('does not lead, and no other does')) : [];
  };
  const [first] = shape.controllers;
  await waitUntilReady(waiting, names([...shape.etcd, ...shape.controllers]), () =>
    unlessUnavailable(first?.name ?? 'controller-0', look),
  );
}

/** Labels come from an operator, so the nodes are named before their agents register. */
async function addNodes(client: ClusterClient, shape: Shape): Promise<void> {
  const known = new Set((await client.nodes()).map(({ id }) => id));
  for (const { name, zone } of shape.nodes) {
    if (!known.has(name)) await client.addNode({ nodeId: name, address: '', labels: { zone } });
  }
}

async function startAgents(layout: Layout, shape: Shape): Promise<string[]> {
  const started: string[] = [];
  for (const { name, grpc, service } of shape.nodes) {
    const spec = {
      name,
      argv: [process.execPath, launcher('plexi-node-agent'), '--config', layout.config(name)] as const,
      endpoint: `127.0.0.1:${grpc}`,
      service: `http://127.0.0.1:${service}`,
    };
    if (await ensureRunning(layout, spec)) started.push(name);
  }
  return started;
}

function names(processes: readonly { name: string }[]): string[] {
  return processes.map(({ name }) => name);
}

function missing(what: string): (process: { name: string }) => Missing {
  return ({ name }) => ({ name, what });
}
