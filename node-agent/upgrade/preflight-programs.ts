/**
 * The programs that the operator's configuration names, before anything is touched: maintenance
 * hooks, an adapter's own programs, probes. One that is missing would be noticed while the node is
 * out of service.
 */
import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { delimiter, isAbsolute, join } from 'node:path';
import type { Failure, PreflightStep } from '../../gen/plexi/v1/node_agent.js';
import type { AgentNode } from '../node.js';
import { systemdProblems } from '../service/systemd-problems.js';

/** Each program that cannot be started, with what it is for. */
export async function programProblems(node: AgentNode, order: PreflightStep): Promise<Failure[]> {
  const found: Failure[] = [];
  for (const { use, program } of programs(node, order)) {
    if (await isExecutable(program, node.paths.root)) continue;
    found.push({
      code: 'PREFLIGHT_FAILED',
      message: `the ${use} ${program} on ${node.config.node} is missing or not executable; put it there, or correct node-agent.yml`,
    });
  }
  for (const sentence of await systemdProblems(node.config)) {
    found.push({ code: 'PREFLIGHT_FAILED', message: `${node.config.node}: ${sentence}` });
  }
  return found;
}

function programs(node: AgentNode, order: PreflightStep): { use: string; program: string }[] {
  const { maintenance, services, probes } = node.config;
  const hooks = order.maintenanceHooks ? [maintenance.enter, maintenance.leave] : [];
  const adapters = services.flatMap((service) =>
    service.adapter === 'command' ? [service.start, service.stop, service.status] : [],
  );
  const asked = probes.flatMap((probe) => (probe.kind === 'command' ? [probe.argv] : []));
  return [
    ...hooks.map((argv) => ({ use: 'maintenance hook', program: argv?.[0] })),
    // One that a path leads to from the release's folder comes with the release.
    ...adapters
      .filter(([program = '']) => isAbsolute(program) || !program.includes('/'))
      .map(([program]) => ({ use: "service adapter's program", program })),
    ...asked.map(([program]) => ({ use: 'probe', program })),
  ].flatMap(({ use, program }) => (program === undefined ? [] : [{ use, program }]));
}

/** Whether a program can be started, by its path (from the root) or through PATH. */
async function isExecutable(program: string, root: string): Promise<boolean> {
  const candidates = program.includes('/')
    ? [isAbsolute(program) ? program : join(root, program)]
    : (process.env.PATH ?? '').split(delimiter).map((folder) => join(folder, program));
  const found = await Promise.allSettled(candidates.map(assertExecutable));
  return found.some((result) => result.status === 'fulfilled');
}

async function assertExecutable(path: string): Promise<void> {
  await access(path, constants.X_OK);
  if (!(await stat(path)).isFile()) throw new Error(`${path} is no file`);
}
