/**
 * The one executor of a node: it takes one job at a time through the list of phases, with a journal
 * record before each step, and back again when a step before the commit fails.
 *
 * Outcomes: `done`; `rolled_back` (the node is as it was); `rollback_failed` (it stays in maintenance
 * and asks for an operator); `failed` (committed, but could not leave maintenance).
 */
import { asPlexiError, PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import { Command, type MaintenanceStep, type UpgradeStep } from '../../gen/plexi/v1/node_agent.js';
import type { Job, Journal } from '../journal/journal.js';
import type { JobFacts, JobFailure, JobResult } from '../journal/records.js';
import { type Recovery, recoveryOf } from '../journal/recover.js';
import { type AgentNode, currentRelease, localRelease } from '../node.js';
import { hookRun } from './maintenance.js';
import type { Phase, PhaseContext } from './phase.js';
import { rollBackPhases, upgradePhases } from './phases.js';

export interface JobProgress {
  readonly phase: string;
  readonly percent: number;
  readonly message: string;
}

interface Running {
  job: Job;
  progress: JobProgress;
  cancelReason: string | undefined;
  readonly cancel: AbortController;
  readonly done: Promise<JobResult>;
}

/** How a walk through phases ended, when it did not reach the end. */
interface Stopped {
  readonly failure: JobFailure;
  readonly failedStep: string;
}

export class Executor {
  private current: Running | undefined;
  private readonly watchers = new Set<(commandId: string, progress: JobProgress) => void>();
  private readonly idleCallbacks = new Set<() => void>();
  private readonly timings = new Map<string, { step: string; durationMs: number }[]>();
  private brokenBy: PlexiError | undefined;

  constructor(
    private readonly node: AgentNode,
    private readonly journal: Journal,
    private readonly forwardPhases: readonly Phase[] = upgradePhases,
    private readonly backPhases: readonly Phase[] = rollBackPhases,
  ) {}

  /** Why the node can take no more jobs, when the journal could not be written in the middle of one. */
  get broken(): PlexiError | undefined {
    return this.brokenBy;
  }

  /** The command that runs now. */
  get runningCommandId(): string | undefined {
    return this.current?.job.commandId;
  }

  /** How far the running command is. */
  get progress(): JobProgress | undefined {
    return this.current?.progress;
  }

  /** The first step that a job of this order begins with; its name goes into the intent. */
  firstStep(order: UpgradeStep, facts: JobFacts): string {
    return nextPhase(this.forwardPhases, 0, order, { facts, begun: [] })?.phase.step ?? 'commit';
  }

  /** Starts a job whose intent is in the journal. */
  start(job: Job): Promise<JobResult> {
    return this.launch(job, (running) => this.work(running));
  }

  private work(running: Running): Promise<JobResult> {
    const { step } = Command.fromJSON(running.job.command);
    return step?.$case === 'maintenance' ? this.maintain(running, step.value) : this.upgrade(running, 0);
  }

  /** The end of the running job, for whoever attaches to it. */
  wait(commandId: string): Promise<JobResult> | undefined {
    return this.current?.job.commandId === commandId ? this.current.done : undefined;
  }

  /** Calls back at every progress of any job, until the returned function is called. */
  watch(callback: (commandId: string, progress: JobProgress) => void): () => void {
    this.watchers.add(callback);
    return () => this.watchers.delete(callback);
  }

  /** Calls back when a job has ended and the node is idle, until the returned function is called. */
  onIdle(callback: () => void): () => void {
    this.idleCallbacks.add(callback);
    return () => this.idleCallbacks.delete(callback);
  }

  /** Asks the running job to go back at its next safe point; it may have committed by then. */
  cancel(commandId: string, reason: string): Promise<JobResult> | undefined {
    const running = this.current;
    if (running === undefined || running.job.commandId !== commandId) return undefined;
    running.cancelReason ??= reason;
    running.cancel.abort();
    return running.done;
  }

  /**
   * At the start of the agent: takes up an open job. Resolves once it runs, with the promise of its
   * end; with undefined when there is none.
   */
  async recover(): Promise<{ readonly ended: Promise<JobResult> } | undefined> {
    const open = this.journal.open();
    if (open !== undefined && Command.fromJSON(open.command).step?.$case === 'maintenance') {
      return { ended: this.start(open) };
    }
    const recovery = this.recoveryOfKnownSteps(open);
    if (open === undefined || recovery.kind === 'nothing') return undefined;
    this.node.log.warn(
      { commandId: open.commandId, recovery },
      'the agent was restarted in the middle of a job',
    );
    const step = recovery.kind === 'roll_back' ? recovery.interrupted : recovery.from;
    const job = await this.journal.append({ kind: 'resumed', commandId: open.commandId, step });
    return { ended: this.launch(job, (running) => this.resume(running, recovery)) };
  }

  /** A journal with a step that this agent does not know is left alone, and an operator asked for. */
  private recoveryOfKnownSteps(open: Job | undefined): Recovery {
    try {
      for (const step of [...(open?.begun ?? []), ...(open?.goingBack?.begun ?? [])]) this.phaseOf(step);
      return recoveryOf(open, (step) => this.phaseOf(step).onRestart);
    } catch (thrown) {
      this.brokenBy = asPlexiError(thrown, 'JOURNAL_UNREADABLE', 'the open job cannot be taken up');
      this.node.log.fatal({ commandId: open?.commandId, err: thrown }, this.brokenBy.message);
      return { kind: 'nothing' };
    }
  }

  private launch(job: Job, work: (running: Running) => Promise<JobResult>): Promise<JobResult> {
    if (this.current !== undefined)
      throw new PlexiError('BUSY', `the node works on ${this.current.job.commandId}`);
    this.timings.set(job.commandId, []);
    const running: Running = {
      job,
      progress: { phase: 'pending', percent: 0, message: '' },
      cancelReason: undefined,
      cancel: new AbortController(),
      done: new Promise<JobResult>((resolve, reject) => {
        // Once `current` is set; what is thrown before the first await rejects, too.
        queueMicrotask(() => Promise.resolve(running).then(work).then(resolve, reject));
      }).finally(() => {
        this.current = undefined;
        this.timings.delete(job.commandId);
        for (const callback of this.idleCallbacks) callback();
      }),
    };
    this.current = running;
    running.done.catch((thrown) => {
      this.brokenBy = asPlexiError(thrown, 'INTERNAL', `the job ${job.commandId} could not be carried on`);
      this.node.log.fatal({ commandId: job.commandId, err: thrown }, this.brokenBy.message);
    });
    return running.done;
  }

  private resume(running: Running, recovery: Exclude<Recovery, { kind: 'nothing' }>): Promise<JobResult> {
    switch (recovery.kind) {
      case 'finish':
      case 'redo':
        return this.upgrade(running, indexOfStep(this.forwardPhases, recovery.from));
      case 'roll_back':
        return this.goBack(running, {
          failure: {
            code: 'INTERRUPTED',
            message: `the agent was restarted in the middle of ${recovery.interrupted}`,
          },
          failedStep: recovery.interrupted,
        });
      case 'go_on_back':
        return this.walkBack(running, indexOfStep(this.backPhases, recovery.from));
    }
  }

  private async maintain(running: Running, order: MaintenanceStep): Promise<JobResult> {
    const { node } = this;
    const timeoutMs = Number(order.timeoutMs);
    const release = await localRelease(node.paths, running.job.facts.folderBefore);
    const run = {
      ...hookRun(node, release, { timeoutMs, signal: AbortSignal.timeout(timeoutMs) }),
      withHooks: true,
    };
    this.tell(running, {
      phase: order.on ? 'entering_maintenance' : 'leaving_maintenance',
      percent: 0,
      message: '',
    });
    try {
      if (order.on)
        await node.maintenance.enter({
          ...run,
          reason: order.reason,
          since: node.clock.wall().toISOString(),
        });
      else await node.maintenance.leave(run);
      return await this.finish(running, { outcome: 'done', failure: null, failedStep: '' });
    } catch (thrown) {
      const { code, message } = asPlexiError(thrown, 'HOOK_FAILED', 'maintenance');
      return this.finish(running, {
        outcome: 'failed',
        failure: { code, message: message.slice(0, limits.failureChars) },
        failedStep: 'maintenance',
      });
    }
  }

  private async upgrade(running: Running, from: number): Promise<JobResult> {
    const stopped = await this.walk(running, this.forwardPhases, from);
    if (stopped === undefined)
      return this.finish(running, { outcome: 'done', failure: null, failedStep: '' });
    if (running.job.committed) return this.finish(running, { outcome: 'failed', ...stopped });
    return this.goBack(running, stopped);
  }

  private async goBack(running: Running, stopped: Stopped): Promise<JobResult> {
    this.node.log.warn({ commandId: running.job.commandId, ...stopped }, 'going back');
    // What may still write must not be restored under.
    if (stopped.failure.code === 'COMMAND_LEFT_RUNNING') {
      return this.finish(running, { outcome: 'rollback_failed', ...stopped });
    }
    const first = nextPhase(this.backPhases, 0, orderOf(running.job), running.job);
    if (first === undefined) return this.finish(running, { outcome: 'rolled_back', ...stopped });
    running.job = await this.journal.append({
      kind: 'going_back',
      commandId: running.job.commandId,
      ...stopped,
      step: first.phase.step,
    });
    return this.walkBack(running, first.index);
  }

  private async walkBack(running: Running, from: number): Promise<JobResult> {
    const why = running.job.goingBack;
    if (why === undefined) throw new Error('walkBack is called only once the job goes back');
    const stopped = await this.walk(running, this.backPhases, from);
    if (stopped === undefined) {
      return this.finish(running, {
        outcome: 'rolled_back',
        failure: why.failure,
        failedStep: why.failedStep,
      });
    }
    const message = `${why.failure.message}; and going back failed at ${stopped.failedStep}: ${stopped.failure.message}`;
    return this.finish(running, {
      outcome: 'rollback_failed',
      failure: { code: 'ROLLBACK_FAILED', message },
      failedStep: stopped.failedStep,
    });
  }

  /** Takes the job through a list of phases. The step at `from` was announced in the journal already. */
  private async walk(running: Running, phases: readonly Phase[], from: number): Promise<Stopped | undefined> {
    const order = orderOf(running.job);
    const before = await localRelease(this.node.paths, running.job.facts.folderBefore);
    const after = await localRelease(this.node.paths, running.job.facts.folderAfter);
    let at = nextPhase(phases, from, order, running.job);
    let previous: Phase | undefined;
    while (at !== undefined) {
      const { phase } = at;
      if (phases === this.forwardPhases && !running.job.committed && running.cancelReason !== undefined) {
        return { failure: { code: 'CANCELLED', message: running.cancelReason }, failedStep: phase.step };
      }
      if (previous !== undefined) {
        running.job = await this.journal.append({
          kind: 'step',
          commandId: running.job.commandId,
          done: previous.step,
          step: phase.step,
          committed: phase.step === 'commit',
        });
      }
      const failure = await this.runPhase(running, phase, { order, before, after });
      if (failure !== undefined) return { failure, failedStep: phase.step };
      previous = phase;
      at = nextPhase(phases, at.index + 1, order, running.job);
    }
    return undefined;
  }

  private async runPhase(
    running: Running,
    phase: Phase,
    releases: Pick<PhaseContext, 'order' | 'before' | 'after'>,
  ): Promise<JobFailure | undefined> {
    const startedMs = this.node.clock.nowMs();
    const timeoutMs = phase.timeoutMs(releases.order);
    const timeout = AbortSignal.timeout(timeoutMs);
    const signal = phase.cancellable ? AbortSignal.any([timeout, running.cancel.signal]) : timeout;
    this.tell(running, { phase: phase.phase, percent: 0, message: phase.step });
    try {
      await phase.run({
        node: this.node,
        job: running.job,
        ...releases,
        signal,
        timeoutMs,
        progress: (percent, message) => this.tell(running, { phase: phase.phase, percent, message }),
      });
      return undefined;
    } catch (thrown) {
      if (running.cancelReason !== undefined && phase.cancellable && !timeout.aborted) {
        return { code: 'CANCELLED', message: running.cancelReason };
      }
      const error = timeout.aborted
        ? new PlexiError('TIMED_OUT', `${phase.step} did not end within ${timeoutMs} ms`, { cause: thrown })
        : asPlexiError(thrown, 'INTERNAL', phase.step);
      this.node.log.error({ commandId: running.job.commandId, step: phase.step, err: thrown }, error.message);
      return { code: error.code, message: error.message.slice(0, limits.failureChars) };
    } finally {
      const durationMs = Math.round(this.node.clock.nowMs() - startedMs);
      this.timings.get(running.job.commandId)?.push({ step: phase.step, durationMs });
      this.node.log.info({ commandId: running.job.commandId, step: phase.step, durationMs }, 'step');
    }
  }

  private async finish(
    running: Running,
    end: Pick<JobResult, 'outcome' | 'failure' | 'failedStep'>,
  ): Promise<JobResult> {
    const { job } = running;
    const backedUp = job.begun.some((step) => step === 'migrate' || step === 'apply');
    const result: JobResult = {
      ...end,
      release: await currentRelease(this.node.paths),
      timings: this.timings.get(job.commandId) ?? [],
      backupId: backedUp ? job.facts.backupId : '',
    };
    this.node.monitor.resume();
    running.job = await this.journal.append({ kind: 'finished', commandId: job.commandId, result });
    await this.journal.prune();
    return result;
  }

  private tell(running: Running, progress: JobProgress): void {
    running.progress = progress;
    for (const watcher of this.watchers) watcher(running.job.commandId, progress);
  }

  private phaseOf(step: string): Phase {
    const phase = [...this.forwardPhases, ...this.backPhases].find((candidate) => candidate.step === step);
    if (phase === undefined)
      throw new PlexiError(
        'JOURNAL_UNREADABLE',
        `the journal names a step ${step} that this agent does not know`,
      );
    return phase;
  }
}

/** The upgrade order of a job, read back from the journal. */
export function orderOf(job: Job): UpgradeStep {
  const { step } = Command.fromJSON(job.command);
  if (step?.$case !== 'upgrade')
    throw new PlexiError('JOURNAL_UNREADABLE', `the job ${job.commandId} is no upgrade`);
  return step.value;
}

function nextPhase(
  phases: readonly Phase[],
  from: number,
  order: UpgradeStep,
  job: Pick<Job, 'facts' | 'begun'>,
): { phase: Phase; index: number } | undefined {
  for (let index = from; index < phases.length; index++) {
    const phase = phases[index];
    if (phase?.applies(order, job)) return { phase, index };
  }
  return undefined;
}

function indexOfStep(phases: readonly Phase[], step: string): number {
  const index = phases.findIndex((phase) => phase.step === step);
  if (index < 0)
    throw new PlexiError(
      'JOURNAL_UNREADABLE',
      `the journal names a step ${step} that this agent does not know`,
    );
  return index;
}
