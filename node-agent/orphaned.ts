/**
 * A node that no controller looks after any more (protocol, rule 13). Orphaned is a node whose upgrade is
 * open and not committed while nothing works on it: it waits for a person, or its journal could not be
 * written. After `orphan.after_ms` without a call under a valid token it goes back, or holds, as
 * node-agent.yml says. A step at work ends by itself, a committed job leaves maintenance by itself, and
 * maintenance by hand is nobody's business but its operator's (decision 12). Monotonic clock only.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Command } from '../gen/plexi/v1/node_agent.js';
import type { Job, Journal } from './journal/journal.js';
import type { AgentNode } from './node.js';
import type { Executor } from './upgrade/executor.js';

/** Milliseconds between two looks. */
const lookMs = 1_000;

export class Orphaned {
  private lastHeardMs: number;

  constructor(
    private readonly node: Pick<AgentNode, 'config' | 'clock' | 'log'>,
    private readonly journal: Pick<Journal, 'open'>,
    private readonly executor: Pick<Executor, 'progress' | 'runningCommandId' | 'cancel' | 'takeUpAgain'>,
  ) {
    this.lastHeardMs = node.clock.nowMs();
  }

  /** A controller called under a valid token. */
  readonly heard = (): void => {
    this.lastHeardMs = this.node.clock.nowMs();
  };

  /**
   * Looks once, and acts when it is time.
   * @returns the command that goes back because of it; undefined when nothing is to be done
   */
  async look(): Promise<string | undefined> {
    const { afterMs, action } = this.node.config.orphan;
    if (action === 'hold' || this.node.clock.nowMs() - this.lastHeardMs < afterMs) return undefined;
    const open = this.journal.open();
    if (open === undefined || !isUncommittedUpgrade(open) || !this.isLeftAlone()) return undefined;
    // Tried again only after the same time: what did not work may work then.
    this.heard();
    const { commandId } = open;
    const reason = `no controller was heard for ${afterMs} ms, so the node took it back by itself`;
    this.node.log.warn({ commandId }, reason);
    if (this.executor.runningCommandId === undefined) await this.executor.takeUpAgain();
    return this.executor.cancel(commandId, reason) === undefined ? undefined : commandId;
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

function isUncommittedUpgrade({ command, committed }: Job): boolean {
  return !committed && Command.fromJSON(command).step?.$case === 'upgrade';
}
