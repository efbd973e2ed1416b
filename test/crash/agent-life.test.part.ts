/**
 * One life of a node's agent without its server: what agent.ts does from the root to the open job, in the
 * same order and with the same parts, so that a try costs no TLS and no ports.
 */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { asPlexiError, PlexiError } from '../../config/errors.js';
import type { NodeAgentConfig } from '../../config/schema/node-agent.js';
import type { Command, CommandResult } from '../../gen/plexi/v1/node_agent.js';
import { journalDisk, openNode } from '../../node-agent/agent.js';
import { agentConfig, environment } from '../../node-agent/agent-node.test.part.js';
import { CommandService } from '../../node-agent/api/command-service.js';
import { NodeStatusSource } from '../../node-agent/api/node-status.js';
import { type Job, Journal, type JournalDisk } from '../../node-agent/journal/journal.js';
import { type AgentNode, linkedFolder, localRelease } from '../../node-agent/node.js';
import { openIdentity } from '../../node-agent/open-identity.js';
import { keepRunning } from '../../node-agent/service/keeper.js';
import { endOrphans } from '../../node-agent/service/orphans.js';
import { failedJobTrouble } from '../../node-agent/takeover/failed-job.js';
import { startService } from '../../node-agent/upgrade/apply.js';
import { Executor } from '../../node-agent/upgrade/executor.js';
import { probe } from './small-releases.test.part.js';

/** How a life ended, in words that fit on a line of JSON. */
export interface Ended {
  /** Of the last job; `none` when the journal holds no job, `open` when it could not be carried on. */
  readonly outcome: CommandResult['outcome'] | 'none' | 'open';
  /** Why the node asks for an operator; absent when it does not. */
  readonly asks?: { readonly code: string; readonly message: string };
  /** What the agent says of itself; absent when it could not start. */
  readonly inMaintenance?: boolean;
  /** Why the order was refused, or the start failed. */
  readonly refused?: { readonly code: string; readonly message: string };
}

/** The configuration of the node in a root. */
export function configOf(root: string, repository: string): NodeAgentConfig {
  const marker = join(root, 'run', 'out');
  return agentConfig(root, {
    repository,
    probes: [{ kind: 'command', argv: probe }],
    maintenance: {
      enter: ['sh', '-c', ': > "$1"', 'enter', marker],
      leave: ['sh', '-c', 'rm -f "$1"', 'leave', marker],
    },
    backup: { paths: ['data', 'config'] },
  });
}

export class AgentLife {
  private constructor(
    readonly node: AgentNode,
    private readonly journal: Journal,
    private readonly executor: Executor,
    private readonly commands: CommandService,
  ) {}

  /** Opens everything in the order of `startAgent`. `diskOf` may stand between the journal and its disk. */
  static async begin(
    config: NodeAgentConfig,
    diskOf: (disk: JournalDisk) => JournalDisk = (disk) => disk,
  ): Promise<AgentLife> {
    const node = await openNode(config, environment);
    const { fence, install } = await openIdentity(node, environment.newId);
    if (install === undefined || fence.broken !== undefined)
      throw new PlexiError('FENCE_UNREADABLE', fence.broken ?? 'the node has lost its identity');
    const journal = await Journal.open(diskOf(journalDisk(node.paths.journal)), () => node.clock.wall());
    if (journal.open() !== undefined) await endOrphans(node.paths.root);
    for (const { token, commandId } of journal.list()) fence.recall(token, commandId);
    const executor = new Executor(node, journal);
    const status = new NodeStatusSource(node, executor, install.installId, () => undefined);
    const commands = new CommandService(node, fence, journal, executor, status);
    return new AgentLife(node, journal, executor, commands);
  }

  get jobs(): Job[] {
    return this.journal.list();
  }

  /** Starts what `current` names, as the keeper does on a node that has just been installed. */
  async serve(): Promise<void> {
    const release = await localRelease(this.node.paths, await linkedFolder(this.node.paths.current));
    if (release !== undefined) await startService(this.node, release);
  }

  /** Carries out an order that arrived. */
  async obey(command: Command): Promise<Ended> {
    try {
      await this.commands.execute(command, () => undefined);
      return this.ended();
    } catch (thrown) {
      const { code, message } = asPlexiError(thrown, 'INTERNAL', 'the order');
      return { ...this.ended(), refused: { code, message } };
    }
  }

  /** Takes up the open job, if there is one, and then looks after the service until it runs. */
  async recover(): Promise<Ended> {
    const recovery = await this.executor.recover();
    // What it could not be carried on for is told by `broken`.
    await recovery?.ended.catch(() => undefined);
    const ended = this.ended();
    if (ended.asks === undefined) await this.keepUntilServed();
    return ended;
  }

  async end(): Promise<void> {
    await this.executor.rest();
    await this.node.monitor.stop();
    await this.node.closeLog();
  }

  /** Only where it is needed: the keeper samples the health as well, and its probe would have to be ended. */
  private async keepUntilServed(): Promise<void> {
    if (await this.node.service.isRunning()) return;
    const stopping = new AbortController();
    const turn = {
      isIdle: () => this.executor.runningCommandId === undefined,
      whileIdle: (work: () => Promise<void>) => this.executor.whileIdle(work),
    };
    const keeping = keepRunning(this.node, turn, stopping.signal);
    const endsMs = performance.now() + 10_000;
    while (!(await this.node.service.isRunning())) {
      if (performance.now() > endsMs) throw new PlexiError('TIMED_OUT', 'the keeper started no service');
      await sleep(2);
    }
    stopping.abort();
    await keeping;
  }

  private ended(): Ended {
    const jobs = this.journal.list();
    const asks = this.executor.broken ?? failedJobTrouble(jobs, this.node);
    const last = jobs.at(-1);
    const outcome = last === undefined ? 'none' : (last.result?.outcome ?? 'open');
    const inMaintenance = this.node.maintenance.current !== undefined;
    return { outcome, inMaintenance, ...(asks && { asks: { code: asks.code, message: asks.message } }) };
  }
}
