/**
 * `plexictl dev up`: makes the folder of a dev cluster (shape, certificates, releases, configuration)
 * where it is missing, then starts what is not running. Invariant: a start that fails in a cluster that
 * was never ready leaves no process behind; one that was ready keeps its shape, its ports and its state.
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { writeConfigs } from './configs.js';
import { stopCluster } from './down.js';
import { type Layout, readShape, type Shape, writeShape } from './layout.js';
import { createCertificates } from './pki.js';
import { isPortTaken, type Waiting } from './ready.js';
import { buildReleases } from './releases.js';
import { newShape, refuseOtherShape, type ShapeWishes, withNewPorts } from './shape.js';
import { startProcesses } from './start.js';

/** Another program may take a port between our choice and the start; that often others are chosen. */
const portChoices = 3;

/** The shape of the cluster in the folder, or of a new one. Errors: USAGE when it cannot be what was asked for. */
export async function chooseShape(layout: Layout, wishes: ShapeWishes): Promise<Shape> {
  const known = readShape(layout);
  if (known === undefined) return newShape(wishes);
  refuseOtherShape(layout.folder, known, wishes);
  return known;
}

/** Brings a cluster of this shape up; returns the names of what was started. */
export async function bringUp(waiting: Waiting, chosen: Shape): Promise<string[]> {
  const { layout } = waiting;
  let shape = chosen;
  for (let choice = 1; ; choice += 1) {
    try {
      await prepare(layout, shape);
      const started = await startProcesses(waiting, shape);
      if (!shape.settled) writeShape(layout, { ...shape, settled: true });
      return started;
    } catch (thrown) {
      if (shape.settled) throw thrown;
      await stopCluster(layout, shape);
      if (!isPortTaken(thrown) || choice === portChoices) throw thrown;
      waiting.say('a port was taken meanwhile; choosing others');
      forgetTry(layout, shape);
      shape = await withNewPorts(shape);
    }
  }
}

async function prepare(layout: Layout, shape: Shape): Promise<void> {
  writeShape(layout, shape);
  await createCertificates(layout, shape);
  await buildReleases(layout);
  writeConfigs(layout, shape, !shape.settled);
}

/** etcd stores its members' ports, and the logs tell of ports that were taken: both are of no use any more. */
function forgetTry(layout: Layout, shape: Shape): void {
  for (const { name } of shape.etcd) rmSync(layout.etcdData(name), { recursive: true, force: true });
  for (const { name } of [...shape.etcd, ...shape.controllers, ...shape.nodes])
    rmSync(layout.log(name), { force: true });
  for (const { name } of shape.nodes)
    rmSync(join(layout.nodeRoot(name), 'run', 'service.log'), { force: true });
}
