/**
 * What adapters and probes are told of their node when they run a program: the folder and the
 * environment that belong to the release behind `current`, read anew each time.
 */
import { join } from 'node:path';
import {
  type AgentNode,
  linkedFolder,
  localRelease,
  programEnvironment,
  readCurrent,
  serviceEnvironment,
} from '../node.js';
import type { ProbeSubject } from './probe-sample.js';
import type { ServiceContext } from './service.js';

type NodeFacts = Pick<AgentNode, 'config' | 'paths'>;

/** In what an operator's start, stop and status programs run while the agent has started nothing. */
export async function serviceContext(node: NodeFacts): Promise<ServiceContext> {
  const { paths } = node;
  const release = await localRelease(paths, await linkedFolder(paths.current));
  return {
    cwd: release === undefined ? paths.root : join(paths.releases, release.folder),
    env: serviceEnvironment(node, release),
    installed: release !== undefined,
  };
}

/** What the probes of a node look at. */
export function probeSubject(node: NodeFacts & Pick<AgentNode, 'service'>): ProbeSubject {
  const { paths } = node;
  return {
    cwd: paths.root,
    pids: () => node.service.pids(),
    // A probe can be asked of a release whose manifest is damaged, too: that is how one is confirmed.
    env: async () => programEnvironment(node, (await readCurrent(paths)).release),
  };
}
