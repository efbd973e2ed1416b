/**
 * The one executor of a node: one job at a time, new ones and those that the journal still holds open
 * when the agent starts. Whoever asks for the running job attaches to it.
 */
import { asPlexiError, PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import { Command, type TakeOverStep, type UpgradeStep } from '../../gen/plexi/v1/node_agent.js';
import { ownByHand, takenBackBy } from '../by-hand/acts.js';
import type { Job, Journal } from '../journal/journal.js';
import type { JobFacts, JobResult } from '../journal/records.js';
import { type Recovery, recoveryOf } from '../journal/recover.js';
import type { AgentNode } from '../node.js';
import { heldFor } from '../takeover/failed-job.js';
import { takeOverStep } from '../takeover/take-over.js';
import { cleanUpAfter } from './clean-up.js';
import { holdOut, staysInService } from './hold-out.js';
import { IdleWork } from './idle-work.js';
import { type JobProgress, JobRun, nextPhase } from './job-run.js';
import { maintenanceStep, unknownStep, unknownStepOf } from './known-steps.js';
import type { Phase } from './phase.js';
import { rollBackPhases, upgradePhases } from './phases.js';
import { notAwaited } from './start-word.js';

export type { JobProgress } from './job-run.js';

/**
 * What follows on the end of a job, while the node is idle again. Never throws.
 * @param jobs all that the journal holds, oldest first, this one among them
 * @param signal aborted once a job is to begin, which waits for the act that is under way
 */
export type AfterEnd = (
  node: AgentNode,
  job: Job,
  jobs: readonly Job[],
  signal: AbortSignal,
) => Promise<void>;

interface Running {
  readonly run: JobRun;
  readonly done: Promise<JobResult>;
}

/** The step at which the job stood. */
function stepOf(recovery: Exclude<Recovery, { kind: 'nothing' }>): string {
  switch (recovery.kind) {
    case 'roll_back':
      return recovery.interrupted;
    case 'give_up':
      return recovery.at;
    default:
      return recovery.from;
  }
}

export class Executor {
  private current: Running | undefined;
  private readonly watchers = new Set<(commandId: string, progress: JobProgress) => void>();
  private readonly idleCallbacks = new Set<() => void>();
  private readonly idleWork = new IdleWork();
  private brokenBy: PlexiError | undefined;

  constructor(
    private readonly node: AgentNode,
    private readonly journal: Journal,
    private readonly forwardPhases: readonly Phase[] = upgradePhases,
    private readonly backPhases: readonly Phase[] = rollBackPhases,
    private readonly afterEnd: AfterEnd = cleanUpAfter,
  ) {}

  /** Why the node can take no more jobs, when the journal could not be written in the middle of one. */
  get broken(): PlexiError | undefined {
    return this.brokenBy;
  }

  /** Whether an agent of this version can take a job up; one with a step of a newer version it cannot. */
  static knows(job: Job): boolean {
    return unknownStepOf(job, [...upgradePhases, ...rollBackPhases]) === undefined;
  }

  /** The command that runs now. */
  get runningCommandId(): string | undefined {
    return this.current?.run.commandId;
  }

  /** How far the running command is. */
  get progress(): JobProgress | undefined {
    return this.current?.run.progress;
  }

  /** The first step that a job of this order begins with; its name goes into the intent. */
  firstStep(order: UpgradeStep, facts: JobFacts): string {
    return nextPhase(this.forwardPhases, 0, order, { facts, begun: [] })?.phase.step ?? 'commit';
  }

  /** Starts a job whose intent is in the journal. */
  start(job: Job): Promise<JobResult> {
    const { step } = Command.fromJSON(job.command);
    return this.launch(job, (run) => {
      if (ownByHand(job) !== undefined) return run.byHand();
      if (step?.$case === 'maintenance') return run.maintain(step.value);
      return step?.$case === 'takeOver' ? run.takeOver(step.value) : run.forward(0);
    });
  }

  /** The end of the running job, for whoever attaches to it. */
  wait(commandId: string): Promise<JobResult> | undefined {
    return this.runningCommandId === commandId ? this.current?.done : undefined;
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

  /** Does something that must not meet a job: not at all beside one, and a job that comes waits for its end. */
  async whileIdle(work: () => Promise<void>): Promise<void> {
    if (this.current === undefined) await this.idleWork.do(work);
  }

  /** Ends what is done while the node is idle. */
  rest(): Promise<void> {
    return this.idleWork.end();
  }

  /** Asks the running job to go back at its next safe point; it may have committed by then. */
  cancel(commandId: string, reason: string): Promise<JobResult> | undefined {
    if (this.current === undefined || this.runningCommandId !== commandId) return undefined;
    this.current.run.cancel(reason);
    return this.current.done;
  }

  /**
   * A person starts the service, when the running job waits for that: so nothing is started behind a job that is
   * taken back. Resolves when it was started. @throws PlexiError CONFLICT at once when no job waits
   */
  startByHand(): Promise<void> {
    if (this.current !== undefined) return this.current.run.startByHand();
    const open = this.journal.open();
    const why =
      open === undefined
        ? 'the agent keeps its service running by itself'
        : `nothing works on ${open.commandId}; see plexi-node-agent status`;
    throw notAwaited(this.node.config.node, why);
  }

  /**
   * At the start of the agent: takes up an open job. Resolves once it runs, with the promise of its
   * end; with undefined when there is none, or one that is left alone, and an operator asked for.
   */
  async recover(): Promise<{ readonly ended: Promise<JobResult> } | undefined> {
    const open = this.journal.open();
    if (open === undefined) return this.keepHeld();
    if (!this.knowsOrAsks(open)) {
      await holdOut(this.node, open, this.brokenBy?.message ?? 'the open job cannot be taken up');
      return undefined;
    }
    if (ownByHand(open) !== undefined) return this.recoverByHand(open);
    const { step: order } = Command.fromJSON(open.command);
    if (order?.$case === 'maintenance') return this.recoverMaintenance(open);
    if (order?.$case === 'takeOver') return this.recoverTakeOver(open, order.value);
    const recovery = recoveryOf(open, (step) => this.phaseOf(step).onRestart);
    if (recovery.kind === 'nothing') return undefined;
    const job = await this.resumed(open, stepOf(recovery));
    return { ended: this.launch(job, (run) => this.resume(run, recovery, job)) };
  }

  /** The disk may have forgotten that a node which asks for an operator is out of service. */
  private async keepHeld(): Promise<undefined> {
    const job = heldFor(this.journal.list());
    if (job === undefined) return;
    await holdOut(this.node, job, job.result?.failure?.message ?? `${job.commandId} failed`);
  }

  /** Tries again after a journal that could not be written, by the same table; undefined when nothing is left open. */
  takeUpAgain(): ReturnType<Executor['recover']> {
    if (this.current !== undefined || this.journal.open() === undefined) return Promise.resolve(undefined);
    const before = this.brokenBy;
    this.brokenBy = undefined;
    return this.recover().catch((thrown) => {
      this.brokenBy = before;
      throw thrown;
    });
  }

  private async recoverByHand(open: Job): Promise<{ readonly ended: Promise<JobResult> }> {
    const step = open.begun.at(-1) ?? '';
    const job = await this.resumed(open, step);
    const isTooOften = job.resumed > limits.journalRedoOnward;
    return { ended: isTooOften ? this.launch(job, (run) => run.giveUp(step)) : this.start(job) };
  }

  private async recoverMaintenance(open: Job): Promise<{ readonly ended: Promise<JobResult> }> {
    const job = await this.resumed(open, maintenanceStep);
    if (job.resumed <= limits.journalRedo) return { ended: this.start(job) };
    const failure = {
      code: 'INTERRUPTED',
      message: 'the agent was restarted in the middle of it, again and again',
    };
    return {
      ended: this.launch(job, (run) =>
        run.finish({ outcome: 'failed', failure, failedStep: maintenanceStep }),
      ),
    };
  }

  private async recoverTakeOver(
    open: Job,
    order: TakeOverStep,
  ): Promise<{ readonly ended: Promise<JobResult> }> {
    const job = await this.resumed(open, takeOverStep);
    const isTooOften = job.resumed > limits.journalRedo;
    return { ended: isTooOften ? this.launch(job, (run) => run.abandonTakeOver(order)) : this.start(job) };
  }

  private resumed(open: Job, step: string): Promise<Job> {
    this.node.log.warn({ commandId: open.commandId, step }, 'the agent was restarted in the middle of a job');
    return this.journal.append({ kind: 'resumed', commandId: open.commandId, step });
  }

  /** A job with a step that this agent does not know is left alone, and an operator asked for. */
  private knowsOrAsks(open: Job): boolean {
    const step = unknownStepOf(open, [...this.forwardPhases, ...this.backPhases]);
    if (step === undefined) return true;
    this.brokenBy = unknownStep(step);
    this.node.log.fatal({ commandId: open.commandId, step }, this.brokenBy.message);
    return false;
  }

  private launch(job: Job, work: (run: JobRun) => Promise<JobResult>): Promise<JobResult> {
    if (this.current !== undefined) {
      throw new PlexiError('BUSY', `the node works on ${this.runningCommandId}`);
    }
    const { node, journal, forwardPhases, backPhases } = this;
    const onProgress = (progress: JobProgress): void => {
      for (const watcher of this.watchers) watcher(job.commandId, progress);
    };
    const run = new JobRun(job, { node, journal, forwardPhases, backPhases, onProgress });
    // Once `current` is set, and what is done while idle has ended.
    const done = this.idleWork
      .end()
      .then(() => work(run))
      .catch((thrown) => this.break(job, thrown))
      .finally(() => {
        this.current = undefined;
        for (const callback of this.idleCallbacks) callback();
      });
    this.current = { run, done };
    // Told by `broken`; whoever waits for the job hears it as well.
    done.then(
      () => this.cleanUp(job.commandId),
      () => undefined,
    );
    return done;
  }

  /** Behind the end of a job, when it is told already and the node serves. A job that has come meanwhile does it. */
  private cleanUp(commandId: string): void {
    const { node, journal } = this;
    const job = journal.find(commandId);
    if (job === undefined || this.current !== undefined) return;
    this.idleWork.begin((signal) => this.afterEnd(node, job, journal.list(), signal));
  }

  /** The job cannot be carried on, so the node asks for an operator, and serves no more. @throws what was thrown */
  private async break(job: Job, thrown: unknown): Promise<never> {
    const { node } = this;
    const broken = asPlexiError(thrown, 'INTERNAL', `the job ${job.commandId} could not be carried on`);
    this.brokenBy = broken;
    node.log.fatal({ commandId: job.commandId, err: thrown }, broken.message);
    if (!staysInService(job)) await holdOut(node, job, broken.message);
    throw thrown;
  }

  private resume(
    run: JobRun,
    recovery: Exclude<Recovery, { kind: 'nothing' }>,
    { byHand }: Job,
  ): Promise<JobResult> {
    switch (recovery.kind) {
      case 'finish':
      case 'redo':
        return run.forward(this.forwardPhases.indexOf(this.phaseOf(recovery.from)));
      case 'go_on_back':
        return run.goOnBack(this.backPhases.indexOf(this.phaseOf(recovery.from)));
      case 'roll_back': {
        const failedStep = recovery.interrupted;
        if (byHand !== undefined)
          return run.goBack({ failure: { code: 'CANCELLED', message: takenBackBy(byHand) }, failedStep });
        const message = `the agent was restarted in the middle of ${failedStep}`;
        return run.goBack({ failure: { code: 'INTERRUPTED', message }, failedStep });
      }
      case 'give_up':
        return run.giveUp(recovery.at);
    }
  }

  private phaseOf(step: string): Phase {
    const phase = [...this.forwardPhases, ...this.backPhases].find((candidate) => candidate.step === step);
    if (phase !== undefined) return phase;
    throw unknownStep(step);
  }
}
