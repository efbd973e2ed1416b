/** `plexictl dev status`: which processes of a dev cluster run. Looks at processes only, not into the cluster. */
import type { Layout, Shape } from './layout.js';
import { isAlive } from './process-identity.js';
import { readProcesses } from './processes.js';

/** One process, as `dev status -o json` shows it. */
export interface ProcessStatus {
  readonly name: string;
  readonly running: boolean;
  readonly pid: number | null;
  readonly endpoint: string | null;
  readonly log: string;
}

/** All processes that the cluster's shape names, running or not. */
export function processStatuses(layout: Layout, shape: Shape): ProcessStatus[] {
  const table = readProcesses(layout);
  return [...shape.etcd, ...shape.controllers, ...shape.nodes].map(({ name }) => {
    const entry = table[name];
    const running = entry !== undefined && isAlive(entry);
    return {
      name,
      running,
      pid: running ? entry.pid : null,
      endpoint: entry?.endpoint ?? null,
      log: layout.log(name),
    };
  });
}
