/**
 * `plexi-node-agent start`, said while no agent runs: a person starts the service, when an upgrade waits for that.
 * The program that does it holds the node's door; the caller sees to that. What a running agent is asked its job
 * does (upgrade/start-word.ts). At any other moment it refuses: in the middle of a job the service must be down,
 * and without one the agent keeps it running by itself, so that there is never a second one. So it does for any
 * user but the agent's: the agent could not stop what another one started, and the service would leave files that
 * it cannot read.
 */
import { stat } from 'node:fs/promises';
import { PlexiError } from '../config/errors.js';
import type { NodeAgentConfig } from '../config/schema/node-agent.js';
import { isSystemError } from './disk/system-error.js';
import { type Job, Journal } from './journal/journal.js';
import { type LocalRelease, linkedFolder, localRelease, nodePaths, serviceSpec } from './node.js';
import { openServices } from './service/adapters.js';
import { serviceContext } from './service/node-facts.js';
import { journalDisk } from './state-disk.js';
import { startMissing } from './upgrade/apply.js';
import { awaitStartName } from './upgrade/await-start.js';
import { notAwaited, runsAlready } from './upgrade/start-word.js';

/**
 * Starts what `current` leads to, and tells what that is.
 * @param ownUser the number of the user that this program runs as
 * Errors: USAGE as another user than the agent's; NOT_FOUND without a release; CONFLICT when nothing waits for it, or the service runs;
 * APPLY_FAILED when it cannot be started.
 */
export async function startByHand(
  config: NodeAgentConfig,
  ownUser: number | undefined = process.geteuid?.(),
): Promise<LocalRelease> {
  const paths = nodePaths(config.root);
  await refuseOtherUser(config, 'start', ownUser);
  const release = await releaseToStart(config);
  const why = whyNoStart((await Journal.open(journalDisk(paths.journal), () => new Date())).open());
  if (why !== undefined) throw notAwaited(config.node, why);
  const service = openServices(config.services, config.root, () => serviceContext({ config, paths }));
  if (await service.isRunning()) throw runsAlready(config.node);
  await startMissing(service, serviceSpec({ config, paths }, release));
  return release;
}

/** What `current` leads to. @throws PlexiError NOT_FOUND where it leads to no release */
export async function releaseToStart({ node, root }: NodeAgentConfig): Promise<LocalRelease> {
  const paths = nodePaths(root);
  const release = await localRelease(paths, await linkedFolder(paths.current));
  if (release !== undefined) return release;
  throw new PlexiError(
    'NOT_FOUND',
    `${node} has no release that could be started; place one with plexi-node-agent install`,
  );
}

function whyNoStart(open: Job | undefined): string | undefined {
  if (open === undefined) return 'the agent keeps its service running by itself';
  if (open.byHand !== undefined) return 'its job goes back';
  const step = (open.goingBack?.begun ?? open.begun).at(-1);
  return step === awaitStartName ? undefined : `the agent is at the step ${step}`;
}

/**
 * What another user starts or writes the agent could not stop or read, and of its state another user sees
 * nothing; only root may look at it with `status`.
 * @param word what was said, for the sentence
 * @throws PlexiError USAGE as another user than the agent's
 */
export async function refuseOtherUser(
  config: Pick<NodeAgentConfig, 'node' | 'root'>,
  word: string,
  ownUser: number | undefined,
): Promise<void> {
  if (word === 'status' && ownUser === 0) return;
  const agentUser = await ownerOf(nodePaths(config.root).agent);
  if (agentUser === 'hidden')
    throw new PlexiError(
      'USAGE',
      `this user may not look into ${config.root}; say ${word} on ${config.node} as the user of its agent`,
    );
  if (agentUser === undefined || agentUser === ownUser) return;
  const what =
    word === 'start' ? `the service of ${config.node} must be started` : `say ${word} on ${config.node}`;
  throw new PlexiError(
    'USAGE',
    `${what} as the user of its agent: sudo -u '#${agentUser}' plexi-node-agent ${word} --config FILE`,
  );
}

/** The number of the user that owns what the agent has made; undefined when no agent was there. */
async function ownerOf(folder: string): Promise<number | 'hidden' | undefined> {
  try {
    return (await stat(folder)).uid;
  } catch (thrown) {
    if (isSystemError(thrown, 'EACCES')) return 'hidden';
    if (isSystemError(thrown, 'ENOENT')) return undefined;
    throw thrown;
  }
}
