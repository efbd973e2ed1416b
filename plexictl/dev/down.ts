/**
 * `plexictl dev down`: ends every process of a dev cluster and leaves its files. The agents go first,
 * since they would start their services again; etcd goes last, since everybody else needs it. Services
 * outlive their agents, and so may a hook or a migration of a killed one: all of them carry their node's
 * root in their environment, and are found by it.
 */
import type { Layout, Shape } from './layout.js';
import { isAlive, type ProcessIdentity, processesWithVariable } from './process-identity.js';
import { readProcesses, stopAll } from './processes.js';

/**
 * Members that all end try for seven seconds to hand the lead to each other. What was acknowledged is on
 * disk, so they need not be given that time.
 */
const etcdGraceMs = 1_000;

/** Ends everything; returns how many processes were ended. */
export async function stopCluster(layout: Layout, shape: Shape): Promise<number> {
  const table = readProcesses(layout);
  const running = (processes: readonly { name: string }[]): ProcessIdentity[] =>
    processes.flatMap(({ name }) => table[name] ?? []).filter(isAlive);
  const agents = running(shape.nodes);
  await stopAll(agents);
  const services = shape.nodes.flatMap(({ name }) =>
    processesWithVariable('PLEXI_ROOT', layout.nodeRoot(name)),
  );
  await stopAll(services);
  const controllers = running(shape.controllers);
  await stopAll(controllers);
  const etcd = running(shape.etcd);
  await stopAll(etcd, etcdGraceMs);
  return agents.length + services.length + controllers.length + etcd.length;
}
