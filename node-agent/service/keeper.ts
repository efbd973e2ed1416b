/**
 * Keeps the service running while nothing else is going on. Only the agent starts it (protocol, rule
 * 10): at the agent's own start, and again when it died, with a growing pause in between.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type AgentNode, linkedFolder, localRelease } from '../node.js';
import { startService } from '../upgrade/apply.js';

/** Milliseconds until the next start after a start that did not last: at first, and at the most. */
const pauseFirstMs = 1_000;
const pauseMaxMs = 60_000;
/** A service that ran for this long starts with the first pause again, in milliseconds. */
const lastedMs = 60_000;
/** Milliseconds for what is left of a service to end. */
const stopMs = 10_000;
/** Milliseconds between two looks. */
const lookMs = 500;

/** What keeps the keeper and a job apart. */
export interface KeeperTurn {
  /** Neither a job nor an operator has the node. */
  isIdle(): boolean;
  /** Does something while no job runs; a job that comes waits for its end. */
  whileIdle(work: () => Promise<void>): Promise<void>;
}

/** Runs until the signal is aborted. Never throws: what cannot be read is logged, and looked at again later. */
export async function keepRunning(node: AgentNode, turn: KeeperTurn, signal: AbortSignal): Promise<void> {
  let pauseMs = pauseFirstMs;
  let startedMs = Number.NEGATIVE_INFINITY;
  let lookAgainMs = lookMs;
  node.monitor.start();
  await expectCurrent(node);
  while (!signal.aborted) {
    const nowMs = node.clock.nowMs();
    if (nowMs - startedMs > lastedMs) pauseMs = pauseFirstMs;
    try {
      lookAgainMs = lookMs;
      if (turn.isIdle() && nowMs - startedMs >= pauseMs && (await shouldRunButDoesNot(node))) {
        if (startedMs !== Number.NEGATIVE_INFINITY) pauseMs = Math.min(pauseMs * 2, pauseMaxMs);
        startedMs = nowMs;
        await turn.whileIdle(() => (turn.isIdle() ? startCurrent(node) : Promise.resolve()));
      }
    } catch (thrown) {
      node.log.error({ err: thrown }, 'the service cannot be looked after');
      lookAgainMs = pauseMaxMs;
    }
    await sleep(lookAgainMs, undefined, { signal, ref: false }).catch(() => undefined);
  }
}

/** A service that survived the agent must say the version that `current` has. */
async function expectCurrent(node: AgentNode): Promise<void> {
  try {
    node.monitor.expect((await localRelease(node.paths, await linkedFolder(node.paths.current)))?.version);
  } catch (thrown) {
    node.log.error({ err: thrown }, '`current` cannot be read');
  }
}

async function shouldRunButDoesNot(node: AgentNode): Promise<boolean> {
  return (await linkedFolder(node.paths.current)) !== undefined && !(await node.service.isRunning());
}

async function startCurrent(node: AgentNode): Promise<void> {
  const release = await localRelease(node.paths, await linkedFolder(node.paths.current));
  if (release === undefined) {
    node.log.error('`current` does not lead to a complete release; the service is not started');
    return;
  }
  try {
    // Its main process is dead; what it left behind would be in the way of the start.
    await node.service.stop(stopMs);
    await startService(node, release);
    node.log.info({ version: release.version }, 'the service was started');
  } catch (thrown) {
    node.log.error({ err: thrown }, 'the service could not be started');
  }
}
