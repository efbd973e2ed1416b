/**
 * A node that no controller looks after any more (protocol, rule 13). Orphaned is a node whose upgrade is
 * open and not committed while nothing works on it: it waits for a person, or its journal could not be
 * written. After `orphan.after_ms` without a call under a valid token it goes back, or holds, as
 * node-agent.yml says. A step at work ends by itself, and maintenance by hand is nobody's business but its
 * operator's (decision 12). A committed job that nothing works on is no orphan: it is finished, whoever
 * calls and whatever node-agent.yml says, when it was left for that time. Monotonic clock only.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Command } from '../gen/plexi/v1/node_agent.js';
import type { CommandService } from './api/command-service.js';
import type { Job, Journal } from './journal/journal.js';
import type { AgentNode } from './node.js';
import type { Executor } from './upgrade/executor.js';

/** Milliseconds between two looks. */
const lookMs = 1_000;

export class Orphaned {
  private lastHeardMs: number;
  /** Since when nothing works on the committed job that is open, or when it was last tried. */
  private leftCommittedMs: number | undefined;

  constructor(
    private readonly node: Pick<AgentNode, 'config' | 'clock' | 'log' | 'service'>,
    private readonly journal: Pick<Journal, 'open'>,
    private readonly executor: Pick<Executor, 'progress' | 'runningCommandId' | 'cancel' | 'takeUpAgain'>,
    private readonly commands: Pick<CommandService, 'exclusively'>,
  ) {
    this.lastHeardMs = node.clock.nowMs();
  }

  /** A controller called under a valid token. */
  readonly heard = (): void => {
    this.lastHeardMs = this.node.clock.nowMs();
  };

  /**
   * Looks once, and acts when it is time: in the critical section of commands (protocol, rule 2), so that no
   * command is let in beside a job that is being taken up.
   * @returns the command that goes back, or is finished, because of it; undefined when nothing is to be done
   */
  async look(): Promise<string | undefined> {
    const { afterMs, action } = this.node.config.orphan;
    if (this.due(afterMs, action) === undefined) return undefined;
    return this.commands.exclusively(async () => {
      // A call that was let in before may have changed everything.
      const job = this.due(afterMs, action);
      return job && this.takeUp(job, afterMs);
    });
  }

  /** The open job that it is time to take up. */
  private due(afterMs: number, action: 'roll_back' | 'hold'): Job | undefined {
    const now = this.node.clock.nowMs();
    const open = this.journal.open();
    if (open === undefined || !open.committed || this.executor.runningCommandId !== undefined)
      this.leftCommittedMs = undefined;
    if (open === undefined) return undefined;
    if (!open.committed) {
      const isOrphaned = isUpgrade(open) && this.isLeftAlone() && now - this.lastHeardMs >= afterMs;
      return isOrphaned && action === 'roll_back' ? open : undefined;
    }
    if (this.executor.runningCommandId !== undefined) return undefined;
    this.leftCommittedMs ??= now;
    return now - this.leftCommittedMs >= afterMs ? open : undefined;
  }

  private async takeUp({ commandId, committed }: Job, afterMs: number): Promise<string | undefined> {
    const { executor, node } = this;
    // Tried again only after the same time: what did not work may work then.
    if (committed) {
      this.leftCommittedMs = node.clock.nowMs();
      node.log.warn({ commandId }, 'nothing worked on this committed job, so it is taken up again');
      return (await executor.takeUpAgain()) && commandId;
    }
    // Somebody has come, whom the step that waits has not seen yet.
    if (executor.runningCommandId !== undefined && (await node.service.isRunning())) return undefined;
    this.heard();
    const reason = `no controller was heard for ${afterMs} ms, so the node took it back by itself`;
    node.log.warn({ commandId }, reason);
    if (executor.runningCommandId === undefined) await executor.takeUpAgain();
    return executor.cancel(commandId, reason) && commandId;
  }

  /** Looks until the signal is aborted. Never throws: what did not work is logged. */
  async watch(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.look().catch((thrown) => {
        this.node.log.error({ err: thrown }, 'an orphaned job could not be taken up');
      });
      await sleep(lookMs, undefined, { signal, ref: false }).catch(() => undefined);
    }
  }

  /** No step is at work: nothing runs, or what runs waits for a person. */
  private isLeftAlone(): boolean {
    const { runningCommandId, progress } = this.executor;
    return runningCommandId === undefined || (progress !== undefined && progress.waitsFor !== '');
  }
}

function isUpgrade({ command }: Job): boolean {
  return Command.fromJSON(command).step?.$case === 'upgrade';
}
