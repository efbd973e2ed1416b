/**
 * A service that runs already becomes the node's own, and is not touched by it; or, with `confirm`, an
 * operator's word for what runs is taken. Invariant: `current` is switched last, once the process is
 * known, healthy, and its release complete on the disk. Before that a failure leaves the node as it
 * was; after it the job only goes forward.
 */
import { join } from 'node:path';
import { defaults } from '../../config/defaults.js';
import { PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import type { TakeOverStep } from '../../gen/plexi/v1/node_agent.js';
import { removeLinkDurably, swapLinkDurably } from '../disk/durable-file.js';
import type { Job } from '../journal/journal.js';
import { type AgentNode, linkedFolder, localRelease } from '../node.js';
import { probeSubject } from '../service/node-facts.js';
import { probeUntilGood } from '../service/probe.js';
import { linkTarget } from '../upgrade/apply.js';
import { hookRun } from '../upgrade/maintenance.js';
import type { IntendedRelease, Running } from './intended-release.js';
import { leftInMaintenanceBy } from './left-in-maintenance.js';
import { realPathOf } from './running-process.js';
import { whatRuns } from './what-runs.js';

/** The name of the one step of such a job, in journal and result. */
export const takeOverStep = 'take_over';

/** What a taking over works on. */
export interface TakeOver {
  readonly node: AgentNode;
  readonly order: TakeOverStep;
  /** The job itself. */
  readonly job: Job;
  /** The jobs before it, oldest first. */
  readonly earlier: readonly Job[];
  /** Tells how far it is, in the phases of the contract. */
  progress(phase: string, percent: number, message: string): void;
}

/**
 * Does the whole of it. May be begun again at every point.
 * @throws PlexiError NODE_EXISTS when something is installed; HOOK_FAILED when the node could not be
 * put back into service, which is then all that is missing; else TAKE_OVER_FAILED, and nothing changed
 */
export async function takeOver(context: TakeOver): Promise<void> {
  const signal = AbortSignal.timeout(timeoutOf(context));
  if (!(await isSwitched(context))) await switchTo(context, await prepare(context, signal));
  await settle(context);
}

/**
 * Ends one that was interrupted again and again: what it had begun is given up.
 * @returns what it came to, as a sentence
 */
export async function abandon(context: TakeOver): Promise<string> {
  const { node, job } = context;
  const why = 'the agent was restarted in the middle of it, again and again';
  if (await isSwitched(context)) return `${why}; the release is in use, and only maintenance was not ended`;
  await node.service.disown?.(job.commandId);
  return why;
}

/** Everything up to the switch; a failure leaves the node as it was. Returns the folder to switch to. */
async function prepare(context: TakeOver, signal: AbortSignal): Promise<string> {
  const { node, order, job } = context;
  try {
    refuseInstalled(context);
    context.progress('preflight', 0, 'look');
    const { running, intended } = await whatRuns(node, order, signal);
    await ownProcess(context, running, intended);
    await assertHealthy(context, running.version, signal);
    context.progress('staging', 0, 'release');
    return await intended.place((percent) => context.progress('staging', percent, 'release'));
  } catch (thrown) {
    await node.service.disown?.(job.commandId);
    throw inOneCode(thrown, signal);
  }
}

function refuseInstalled({ node, order, job }: TakeOver): void {
  if (order.confirm || job.facts.folderBefore === null) return;
  throw new PlexiError(
    'NODE_EXISTS',
    `${node.config.node} runs ${job.facts.folderBefore} already; change it with plexictl rollout, or say with plexictl node confirm what somebody made of it by hand`,
  );
}

/** From here on the service is stopped, watched and restarted like one that the agent started. */
async function ownProcess({ node, job }: TakeOver, { process }: Running, { service }: IntendedRelease) {
  if (process === undefined) return;
  if (node.service.adopt === undefined) throw new Error('the adapter process takes over processes');
  const { pid, argv } = process;
  await node.service.adopt({ pid, argv, stopSignal: service.stopSignal, by: job.commandId });
}

async function assertHealthy(context: TakeOver, version: string, signal: AbortSignal): Promise<void> {
  const { node } = context;
  const { goodInARow, spacingMs, intervalMaxMs, tryMs } = defaults.probe;
  context.progress('probing', 0, 'probe');
  const result = await probeUntilGood({
    probes: node.config.probes,
    subject: probeSubject(node),
    expectedVersion: version,
    policy: { goodInARow, spacingMs, intervalMaxMs, tryMs },
    timeoutMs: Math.min(defaults.timeouts.probeMs, timeoutOf(context) / 2),
    signal,
    isRunning: () => node.service.isRunning(),
    onSample: (good, needed) => context.progress('probing', Math.floor((100 * good) / needed), 'probe'),
  });
  if (result.good) return;
  throw new PlexiError(
    'TAKE_OVER_FAILED',
    `the service on ${node.config.node} is not healthy as ${version}: ${result.reason}; put it right, and try again`,
  );
}

/** The one act by which the node has the release. */
async function switchTo({ node, progress }: TakeOver, folder: string): Promise<void> {
  progress('committing', 0, folder);
  if ((await linkedFolder(node.paths.current)) === folder && (await isWhole(node, folder))) return;
  await swapLinkDurably(node.paths.current, linkTarget(folder));
}

/** Whether `current` leads to that folder of releases, and not to one of that name elsewhere. */
async function isWhole(node: AgentNode, folder: string): Promise<boolean> {
  const [current, release] = await Promise.all([
    realPathOf(node.paths.current),
    realPathOf(join(node.paths.releases, folder)),
  ]);
  return current !== undefined && current === release;
}

/** Whether the job had switched `current` before the agent was restarted. */
async function isSwitched({ node, job }: TakeOver): Promise<boolean> {
  return job.resumed > 0 && ((await linkedFolder(node.paths.current)) ?? null) !== job.facts.folderBefore;
}

/** What follows from the switch: the monitor's version, no trial any more, and back into service. */
async function settle(context: TakeOver): Promise<void> {
  const { node, order, earlier } = context;
  const release = await localRelease(node.paths, await linkedFolder(node.paths.current));
  node.monitor.expect(release?.version);
  node.monitor.reset();
  if (!order.confirm) return;
  await removeLinkDurably(node.paths.trial);
  const failed = node.maintenance.current === undefined ? undefined : leftInMaintenanceBy(earlier);
  if (failed === undefined) return;
  context.progress('leaving_maintenance', 0, '');
  const timeoutMs = timeoutOf(context);
  const bounds = { commandId: context.job.commandId, timeoutMs, signal: AbortSignal.timeout(timeoutMs) };
  await node.maintenance.leave({ ...hookRun(node, release, bounds), withHooks: failed.maintenanceHooks });
}

function timeoutOf({ order }: TakeOver): number {
  return Math.min(Number(order.timeoutMs), limits.takeOverMs);
}

/** Whatever went wrong, nothing has changed; the code says so, and the sentence says what it was. */
function inOneCode(thrown: unknown, signal: AbortSignal): PlexiError {
  if (thrown instanceof PlexiError && ['TAKE_OVER_FAILED', 'NODE_EXISTS'].includes(thrown.code))
    return thrown;
  const why = thrown instanceof Error ? thrown.message : String(thrown);
  const message = signal.aborted ? `it took longer than it was allowed to (${why})` : why;
  return new PlexiError('TAKE_OVER_FAILED', message, { cause: thrown });
}
