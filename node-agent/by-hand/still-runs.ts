/**
 * What of a node still runs beside state that cannot be read, before an operator's word changes anything.
 * A service that an agent started carries its root in its environment. One that was taken over does not:
 * it is looked for as it was when it was taken over, by its program and by where the probes ask, and in
 * what is left of its record. Invariant: in doubt something runs, because a second service beside the first
 * one would write into the same data.
 */
import { PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import { Command } from '../../gen/plexi/v1/node_agent.js';
import { readBounded } from '../disk/durable-file.js';
import type { Journal } from '../journal/journal.js';
import type { AgentNode } from '../node.js';
import { endOrphans } from '../service/orphans.js';
import { findProcesses, type LiveProcess, liveProcess } from '../service/process-table.js';
import { realPathOf, serviceLike } from '../takeover/running-process.js';
import type { UnreadableState } from './unreadable.js';

/** The process in a record of the service, also in a part of one; its start is told when it is whole. */
const processInRecord = /"process":\{"pid":([1-9][0-9]*)(?:,"startTicks":([0-9]+)\})?/;

/**
 * Ends hooks and migrations that an agent has left running: they would write under what is restored.
 * @throws PlexiError COMMAND_LEFT_RUNNING, naming them, when one does not end
 */
export async function endLeftRunning({ paths, log }: Pick<AgentNode, 'paths' | 'log'>): Promise<void> {
  const ended = await endOrphans(paths.root);
  if (ended > 0) log.warn({ ended }, 'hooks or migrations that an agent has left running were ended');
}

/**
 * Without its record the service cannot be stopped by the agent: it must not run any more.
 * @param journal undefined when it cannot be read
 * @throws PlexiError STOP_FAILED, naming what runs
 */
export async function refuseUnknownService(
  node: Pick<AgentNode, 'config' | 'paths'>,
  unreadable: readonly UnreadableState[],
  journal: Pick<Journal, 'list'> | undefined,
): Promise<void> {
  const records = unreadable.filter(({ kind }) => kind === 'service');
  const [record] = records;
  if (record === undefined) return;
  const running = [...(await processesOfNode(node, journal))];
  for (const { path } of records) running.push(...(await processesLeftIn(path)));
  if (running.length === 0) return;
  const pids = [...new Set(running.map(({ pid }) => pid))].join(', ');
  throw new PlexiError(
    'STOP_FAILED',
    `${record.path} cannot be read, and something of ${node.config.node} runs (pid ${pids}); stop it by hand, then say this again`,
  );
}

async function processesOfNode(
  { config, paths }: Pick<AgentNode, 'config' | 'paths'>,
  journal: Pick<Journal, 'list'> | undefined,
): Promise<LiveProcess[]> {
  const found = await findProcesses({ groups: new Set(), environmentText: `PLEXI_ROOT=${paths.root}\0` });
  for (const folder of [paths.releases, ...foldersTakenOver(journal)]) {
    const real = await realPathOf(folder);
    if (real !== undefined) found.push(...(await serviceLike(real, config.probes)));
  }
  return found;
}

/** Where services were started by hand that the node has taken over. */
function foldersTakenOver(journal: Pick<Journal, 'list'> | undefined): string[] {
  return (journal?.list() ?? []).flatMap(({ command }) => {
    const { step } = Command.fromJSON(command);
    return step?.$case === 'takeOver' && step.value.directory !== '' ? [step.value.directory] : [];
  });
}

async function processesLeftIn(path: string): Promise<LiveProcess[]> {
  // What cannot be read at all tells nothing more.
  const bytes = await readBounded(path, limits.serviceRecordBytes).catch(() => undefined);
  const [, pid, startTicks] = processInRecord.exec(bytes?.toString('utf8') ?? '') ?? [];
  const live = pid === undefined ? undefined : liveProcess(Number(pid));
  if (live === undefined) return [];
  return startTicks === undefined || Number(startTicks) === live.startTicks ? [live] : [];
}
