/**
 * Fence and identity of a node, as its agent opens them at its start. Invariant: a fence that was raised is
 * never replaced here, whatever else of the node is lost; and where a journal is, one was raised (guarantee 2).
 */
import { PlexiError } from '../config/errors.js';
import { Fence } from './api/fence.js';
import { hasInstallIdentity, type InstallIdentity, openInstallIdentity } from './install-identity.js';
import type { AgentNode, NodePaths } from './node.js';
import { fenceDisk, hasJournal } from './state-disk.js';

/** Whether no agent has ever been at work here; one that died at its very first start does not count. */
export async function isNewNode(paths: NodePaths, fence: Fence): Promise<boolean> {
  return fence.isNew && !(await hasInstallIdentity(paths.identity)) && !(await hasJournal(paths));
}

/**
 * The fence of a new node is on the disk before its identity is: no crash leaves an identity without a fence.
 * What is lost beside a fence that was raised, or beside a journal, is not made anew here: the node holds, and
 * asks.
 * @returns no identity when there is none that can be used. Errors: the system's, when it cannot be written
 */
export async function openIdentity(
  node: Pick<AgentNode, 'paths' | 'log'>,
  newId: () => string,
): Promise<{ fence: Fence; install: InstallIdentity | undefined }> {
  const disk = fenceDisk(node.paths);
  const fence = await Fence.open(disk);
  if (await hasInstallIdentity(node.paths.identity))
    return { fence, install: await identityOrTrouble(node, newId) };
  if (!(await isNewNode(node.paths, fence))) return { fence, install: undefined };
  return { fence: await Fence.create(disk), install: await identityOrTrouble(node, newId) };
}

/** Undefined when it cannot be read: then the node holds, and asks. */
async function identityOrTrouble(
  { paths, log }: Pick<AgentNode, 'paths' | 'log'>,
  newId: () => string,
): Promise<InstallIdentity | undefined> {
  try {
    return await openInstallIdentity(paths.identity, newId);
  } catch (thrown) {
    if (!(thrown instanceof PlexiError)) throw thrown;
    log.fatal({ err: thrown }, thrown.message);
    return undefined;
  }
}
