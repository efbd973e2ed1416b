/**
 * One job on its way: through the list of phases, with a journal record before each step, and back
 * again when a step before the commit fails.
 *
 * Outcomes: `done`; `rolled_back` (the node is as it was); `rollback_failed` (it stays in maintenance
 * and asks for an operator); `failed` (committed, but could not leave maintenance).
 */
import { asPlexiError, PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import {
  Command,
  type MaintenanceStep,
  type TakeOverStep,
  type UpgradeStep,
} from '../../gen/plexi/v1/node_agent.js';
import { carryOut, maintenanceOffStep, ownByHand, takenBackBy } from '../by-hand/acts.js';
import { triedAgain } from '../disk/refusal.js';
import type { Job, Journal } from '../journal/journal.js';
import type { JobFailure, JobResult } from '../journal/records.js';
import { type AgentNode, currentRelease, type LocalRelease, localRelease } from '../node.js';
import { asksForOperator, jobsThatTell } from '../takeover/failed-job.js';
import { abandon, type TakeOver, takeOver, takeOverStep } from '../takeover/take-over.js';
import { holdOut } from './hold-out.js';
import { maintenanceStep } from './known-steps.js';
import { hookRun } from './maintenance.js';
import type { JobSoFar, Phase, PhaseContext } from './phase.js';
import { notAwaited, StartWord } from './start-word.js';

export interface JobProgress {
  readonly phase: string;
  readonly percent: number;
  readonly message: string;
  /** What a person must do before it goes on; empty: it waits for nobody. */
  readonly waitsFor: string;
}

/** How a walk through phases ended, when it did not reach the end. */
interface Stopped {
  readonly failure: JobFailure;
  readonly failedStep: string;
}

export interface JobRunParts {
  readonly node: AgentNode;
  readonly journal: Journal;
  readonly forwardPhases: readonly Phase[];
  readonly backPhases: readonly Phase[];
  readonly onProgress: (progress: JobProgress) => void;
}

export class JobRun {
  private latest: JobProgress | undefined;
  private cancelReason: string | undefined;
  private readonly cancelling = new AbortController();
  private readonly startWord = new StartWord();
  private readonly timings: { step: string; durationMs: number }[] = [];

  constructor(
    private job: Job,
    private readonly parts: JobRunParts,
  ) {}

  get commandId(): string {
    return this.job.commandId;
  }

  /** Undefined before the first step. */
  get progress(): JobProgress | undefined {
    return this.latest;
  }

  /** Lets the job go back at its next safe point; it may have committed by then. */
  cancel(reason: string): void {
    this.cancelReason ??= reason.slice(0, limits.failureChars);
    this.waitNoMore();
    this.cancelling.abort();
  }

  /**
   * A person starts the service that this job waits for; from this call on it waits for nobody.
   * Resolves when the service was started. @throws PlexiError CONFLICT when the job does not wait; else why it could not be started
   */
  startByHand(): Promise<void> {
    if (this.latest === undefined || this.latest.waitsFor === '')
      throw notAwaited(this.parts.node.config.node, this.whatItDoes());
    this.waitNoMore();
    return this.startWord.ask();
  }

  /** Forward from a step that the journal has announced. */
  async forward(from: number): Promise<JobResult> {
    const stopped = await this.walk(this.parts.forwardPhases, from);
    if (stopped === undefined) return this.finish({ outcome: 'done', failure: null, failedStep: '' });
    return this.job.committed ? this.finish({ outcome: 'failed', ...stopped }) : this.goBack(stopped);
  }

  /** Turns back, whatever the job has changed. */
  async goBack(stopped: Stopped): Promise<JobResult> {
    this.parts.node.log.warn({ ...this.names(), ...stopped }, 'going back');
    // What may still write must not be restored under.
    if (stopped.failure.code === 'COMMAND_LEFT_RUNNING') {
      return this.finish({ outcome: 'rollback_failed', ...stopped });
    }
    const first = nextPhase(this.parts.backPhases, 0, orderOf(this.job), this.job);
    if (first === undefined) return this.finish({ outcome: 'rolled_back', ...stopped });
    await this.append({ kind: 'going_back', ...stopped, step: first.phase.step });
    return this.goOnBack(first.index);
  }

  /** The way back, from a step that the journal has announced. */
  async goOnBack(from: number): Promise<JobResult> {
    const why = this.job.goingBack;
    if (why === undefined) throw new Error('goOnBack is called only once the job goes back');
    const stopped = await this.walk(this.parts.backPhases, from);
    if (stopped === undefined) {
      return this.finish({ outcome: 'rolled_back', failure: why.failure, failedStep: why.failedStep });
    }
    const message = `${why.failure.message}; and going back failed at ${stopped.failedStep}: ${stopped.failure.message}`;
    return this.finish({
      outcome: 'rollback_failed',
      failure: { code: 'ROLLBACK_FAILED', message },
      failedStep: stopped.failedStep,
    });
  }

  /** A node taken out of service, or put back, by itself. */
  async maintain(order: MaintenanceStep): Promise<JobResult> {
    const { node } = this.parts;
    const timeoutMs = Number(order.timeoutMs);
    const bounds = { commandId: this.commandId, timeoutMs, signal: AbortSignal.timeout(timeoutMs) };
    this.tell(order.on ? 'entering_maintenance' : 'leaving_maintenance', 0, '');
    try {
      const release = await localRelease(node.paths, this.job.facts.folderBefore);
      const run = { ...hookRun(node, release, bounds), withHooks: true };
      const since = node.clock.wall().toISOString();
      const { maintenance } = node;
      if (order.on) await triedAgain(() => maintenance.enter({ ...run, reason: order.reason, since }));
      else await triedAgain(() => maintenance.leave(run));
      return await this.finish({ outcome: 'done', failure: null, failedStep: '' });
    } catch (thrown) {
      const failure = failureOf(asPlexiError(thrown, 'HOOK_FAILED', 'maintenance'));
      return this.finish({ outcome: 'failed', failure, failedStep: maintenanceStep });
    }
  }

  /** A service that runs already becomes the node's own. */
  async takeOver(order: TakeOverStep): Promise<JobResult> {
    try {
      await takeOver(this.takeOverContext(order));
    } catch (thrown) {
      const error = asPlexiError(thrown, 'TAKE_OVER_FAILED', 'taking over');
      this.parts.node.log.error({ ...this.names(), step: takeOverStep, err: thrown }, error.message);
      return this.finish({ outcome: 'failed', failure: failureOf(error), failedStep: takeOverStep });
    }
    return this.finish({ outcome: 'done', failure: null, failedStep: '' });
  }

  /** A taking over that was interrupted too often to be begun again. */
  async abandonTakeOver(order: TakeOverStep): Promise<JobResult> {
    const failure = { code: 'INTERRUPTED', message: await abandon(this.takeOverContext(order)) };
    return this.finish({ outcome: 'failed', failure, failedStep: takeOverStep });
  }

  /** What an operator said on the node itself. */
  async byHand(): Promise<JobResult> {
    const announce = (done: string, step: string): Promise<void> =>
      this.append({ kind: 'step', done, step, committed: false });
    const stopped = await carryOut({ node: this.parts.node, job: this.job, announce });
    if (stopped === undefined) return this.finish({ outcome: 'done', failure: null, failedStep: '' });
    this.parts.node.log.error({ ...this.names(), err: stopped.error }, stopped.error.message);
    return this.finishByHand(failureOf(stopped.error), stopped.failedStep);
  }

  /** A node that could not be put back into service is as it was; any other half-done word asks. */
  private finishByHand(failure: JobFailure, failedStep: string): Promise<JobResult> {
    const outcome = failedStep === maintenanceOffStep ? 'failed' : 'rollback_failed';
    return this.finish({ outcome, failure, failedStep });
  }

  /** Ends a job in whose step the agent was restarted again and again; the node holds, and asks. */
  giveUp(step: string): Promise<JobResult> {
    const again = `the agent was restarted in the middle of ${step} again and again`;
    if (ownByHand(this.job) !== undefined)
      return this.finishByHand({ code: 'INTERRUPTED', message: again }, step);
    const why = this.job.goingBack;
    if (why === undefined)
      return this.finish({
        outcome: 'failed',
        failure: { code: 'INTERRUPTED', message: again },
        failedStep: step,
      });
    const message = `${why.failure.message}; and going back was given up: ${again}`;
    return this.finish({
      outcome: 'rollback_failed',
      failure: { code: 'ROLLBACK_FAILED', message },
      failedStep: step,
    });
  }

  /** Ends the job with a result, durably. */
  async finish(end: Pick<JobResult, 'outcome' | 'failure' | 'failedStep'>): Promise<JobResult> {
    const { node, journal } = this.parts;
    const backedUp = this.job.begun.some((step) => step === 'migrate' || step === 'apply');
    const result: JobResult = {
      ...end,
      release: await currentRelease(node.paths),
      timings: this.timings,
      backupId: backedUp ? this.job.facts.backupId : '',
    };
    node.monitor.resume();
    // Before it is written, or told to anybody, that the node asks.
    if (node.maintenance.isLeaving || asksForOperator({ ...this.job, result }))
      await holdOut(node, this.job, result.failure?.message ?? 'a job failed');
    await this.append({ kind: 'finished', result });
    const { outcome, failure, failedStep, release } = result;
    node.log.info({ ...this.names(), outcome, failure, failedStep, release }, 'result');
    const needed = jobsThatTell(journal.list());
    await journal.prune(needed).catch((err) => node.log.warn({ err }, 'old jobs could not be removed'));
    return result;
  }

  private takeOverContext(order: TakeOverStep): TakeOver {
    const { node, journal } = this.parts;
    const earlier = journal.list().filter(({ commandId }) => commandId !== this.commandId);
    const progress = (phase: string, percent: number, message: string): void =>
      this.tell(phase, percent, message);
    return { node, order, job: this.job, earlier, progress };
  }

  private async walk(phases: readonly Phase[], from: number): Promise<Stopped | undefined> {
    const { node, forwardPhases } = this.parts;
    const order = orderOf(this.job);
    const before = await localRelease(node.paths, this.job.facts.folderBefore);
    const after = await localRelease(node.paths, this.job.facts.folderAfter);
    let previous: Phase | undefined;
    let at = nextPhase(phases, from, order, this.job, after);
    for (; at !== undefined; at = nextPhase(phases, at.index + 1, order, this.job, after)) {
      const { step } = at.phase;
      if (phases === forwardPhases && !this.job.committed && this.cancelReason !== undefined) {
        return { failure: { code: 'CANCELLED', message: this.cancelReason }, failedStep: step };
      }
      if (previous !== undefined) {
        const takenBack = await this.announce(previous.step, step);
        if (takenBack !== undefined) return takenBack;
      }
      const failure = await this.runPhase(at.phase, { order, before, after });
      if (failure !== undefined) return { failure, failedStep: step };
      previous = at.phase;
    }
    return undefined;
  }

  /** The record before a step. The commit is not written behind a word that takes the job back. */
  private async announce(done: string, step: string): Promise<Stopped | undefined> {
    const committed = step === 'commit';
    let takenBack: string | undefined;
    const allow = (job: Job | undefined): void => {
      if (!committed || job?.byHand === undefined) return;
      takenBack = takenBackBy(job.byHand);
      throw new PlexiError('CONFLICT', takenBack);
    };
    try {
      await this.append({ kind: 'step', done, step, committed }, allow);
      return undefined;
    } catch (thrown) {
      if (takenBack === undefined) throw thrown;
      return { failure: { code: 'CANCELLED', message: takenBack }, failedStep: step };
    }
  }

  private async runPhase(
    phase: Phase,
    releases: Pick<PhaseContext, 'order' | 'before' | 'after'>,
  ): Promise<JobFailure | undefined> {
    const { node } = this.parts;
    const startedMs = node.clock.nowMs();
    const timeoutMs = phase.timeoutMs(releases.order);
    const timeout = AbortSignal.timeout(timeoutMs);
    const signal = phase.cancellable ? AbortSignal.any([timeout, this.cancelling.signal]) : timeout;
    const progress = (percent: number, message: string, waitsFor = ''): void =>
      this.tell(phase.phase, percent, message, waitsFor);
    progress(0, phase.step);
    const run = (): Promise<void> =>
      phase.run({
        ...{ node, job: this.job, ...releases, signal, timeoutMs, progress },
        startWord: this.startWord,
      });
    // There is nothing to turn to from here, and each of these steps may be begun again.
    const isOnward = this.job.committed || this.job.goingBack !== undefined;
    try {
      await (isOnward ? triedAgain(run) : run());
      return undefined;
    } catch (thrown) {
      return this.failureOfPhase(phase, thrown, timeout.aborted ? timeoutMs : undefined);
    } finally {
      this.waitNoMore();
      this.startWord.refuse(notAwaited(node.config.node, this.whatItDoes()));
      const durationMs = Math.round(node.clock.nowMs() - startedMs);
      this.timings.push({ step: phase.step, durationMs });
      node.log.info({ ...this.names(), step: phase.step, durationMs }, 'step');
    }
  }

  /** @param timedOutMs the bound that was over; undefined when the step failed by itself */
  private failureOfPhase(phase: Phase, thrown: unknown, timedOutMs: number | undefined): JobFailure {
    if (
      this.cancelReason !== undefined &&
      phase.cancellable &&
      timedOutMs === undefined &&
      !isLeftRunning(thrown)
    ) {
      return { code: 'CANCELLED', message: this.cancelReason };
    }
    const error =
      timedOutMs === undefined || isLeftRunning(thrown)
        ? asPlexiError(thrown, 'INTERNAL', phase.step)
        : new PlexiError('TIMED_OUT', `${phase.step} did not end within ${timedOutMs} ms`, { cause: thrown });
    this.parts.node.log.error({ ...this.names(), step: phase.step, err: thrown }, error.message);
    return failureOf(error);
  }

  private async append(
    record: DistributiveOmit<Parameters<Journal['append']>[0], 'commandId'>,
    allow?: Parameters<Journal['append']>[1],
  ): Promise<void> {
    this.job = await this.parts.journal.append({ ...record, commandId: this.job.commandId }, allow);
  }

  private tell(phase: string, percent: number, message: string, waitsFor = ''): void {
    // A job that is taken back waits for nobody, whatever its step has not heard of yet.
    const isTakenBack = this.cancelReason !== undefined;
    const progress = { phase, percent, message, waitsFor: isTakenBack ? '' : waitsFor };
    this.latest = progress;
    this.parts.onProgress(progress);
  }

  /** Whatever it waited for: from here on nobody has to come. */
  private waitNoMore(): void {
    if (this.latest !== undefined) this.latest = { ...this.latest, waitsFor: '' };
  }

  /** What the job is at, for whoever takes it for one that waits. */
  private whatItDoes(): string {
    if (this.cancelReason !== undefined) return 'its job goes back';
    return `the agent is at the step ${(this.job.goingBack?.begun ?? this.job.begun).at(-1)}`;
  }

  private names(): { commandId: string; rollout: unknown } {
    return { commandId: this.job.commandId, rollout: this.job.command.rolloutId };
  }
}

type DistributiveOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never;

/** Something may still write: no other word for the failure may hide that. */
function isLeftRunning(thrown: unknown): boolean {
  return thrown instanceof PlexiError && thrown.code === 'COMMAND_LEFT_RUNNING';
}

function failureOf(error: PlexiError): JobFailure {
  return { code: error.code, message: error.message.slice(0, limits.failureChars) };
}

/** The upgrade order of a job, read back from the journal. */
function orderOf(job: Job): UpgradeStep {
  const { step } = Command.fromJSON(job.command);
  if (step?.$case === 'upgrade') return step.value;
  throw new PlexiError('JOURNAL_UNREADABLE', `the job ${job.commandId} is no upgrade`);
}

/** The first phase at or after an index that a job of this order needs. */
export function nextPhase(
  phases: readonly Phase[],
  from: number,
  order: UpgradeStep,
  job: JobSoFar,
  after?: LocalRelease,
): { phase: Phase; index: number } | undefined {
  for (let index = from; index < phases.length; index++) {
    const phase = phases[index];
    if (phase?.applies(order, job, after)) return { phase, index };
  }
  return undefined;
}
