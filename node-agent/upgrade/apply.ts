/**
 * The switch: `previous` names what ran, `trial` and `current` name what shall run, and the service
 * starts, unless a person is to start it. `trial` stays until the commit, so that a look at the disk tells how far the node came.
 * A restart of the release that runs switches nothing: `previous` still names what ran before it.
 */
import { PlexiError } from '../../config/errors.js';
import { NONE } from '../../release/version.js';
import { setLinksDurably } from '../disk/durable-file.js';
import type { JobFacts } from '../journal/records.js';
import { markServiceLogs } from '../logs/service-logs.js';
import { type AgentNode, type LocalRelease, serviceSpec } from '../node.js';
import type { ServiceAdapter, ServiceSpec } from '../service/service.js';
import type { Phase } from './phase.js';

export const applyStep: Phase = {
  step: 'apply',
  phase: 'applying',
  onRestart: 'redo',
  cancellable: false,
  timeoutMs: (order) => Number(order.timeouts?.applyMs ?? 0n),
  applies: () => true,
  async run({ node, job, before, after, order, timeoutMs }) {
    if (after === undefined && order.to?.version !== NONE) {
      throw new PlexiError('APPLY_FAILED', `release ${order.to?.version} is not complete on this node`);
    }
    await node.service.stop(timeoutMs);
    const isRestart = after !== undefined && before?.folder === after.folder;
    const previous = isRestart ? job.facts.previousBefore : before?.folder;
    await switchLinks(node, {
      previous: previous ?? job.facts.previousBefore,
      trial: after?.folder,
      current: after?.folder,
    });
    if (after === undefined) return;
    if (order.tests && after.manifest.tests.some(({ mustNotLog }) => mustNotLog !== undefined))
      await markServiceLogs(node, job.commandId);
    if (order.restartByHand) node.monitor.expect(after.version);
    else await startService(node, after);
  },
};

/**
 * Starts the service of a release when it does not run; for steps that may be begun again after a power
 * cut. Of several services those that run are of this release, and run on: one that could not be stopped,
 * or whose neighbour died.
 */
export async function ensureRunning(node: AgentNode, release: LocalRelease | undefined): Promise<void> {
  if (release === undefined) return;
  // Whoever has started it: this version is meant.
  node.monitor.expect(release.version);
  if (await node.service.isRunning()) return;
  await startMissing(node.service, serviceSpec(node, release));
  node.monitor.reset();
}

/** Starts what does not run of a service whose running part is of the same release. Errors: as of `start`. */
export function startMissing(service: ServiceAdapter, spec: ServiceSpec): Promise<void> {
  return service.startMissing === undefined ? service.start(spec) : service.startMissing(spec);
}

/** Starts a release's service and lets the monitor expect its version. */
export async function startService(node: AgentNode, release: LocalRelease): Promise<void> {
  node.monitor.expect(release.version);
  await node.service.start(serviceSpec(node, release));
  node.monitor.reset();
}

/** Back to what ran before: all three links are as the job found them. */
export async function switchBack(node: AgentNode, facts: JobFacts): Promise<void> {
  await switchLinks(node, {
    current: facts.folderBefore,
    previous: facts.previousBefore,
    trial: undefined,
  });
}

/**
 * All links stand in the node's root, and both steps that set them are begun again after a crash, from
 * the facts in the journal and not from the links: so one flush behind all of them is enough (decision 9).
 */
export async function switchLinks(
  node: Pick<AgentNode, 'paths'>,
  links: Record<'previous' | 'trial' | 'current', string | null | undefined>,
): Promise<void> {
  const targets = Object.entries(links).map(
    ([name, folder]) => [name, folder ? linkTarget(folder) : undefined] as const,
  );
  await setLinksDurably(node.paths.root, targets);
}

/** Links are relative, so that a node's root can be looked at from elsewhere. */
export function linkTarget(folder: string): string {
  return `releases/${folder}`;
}
