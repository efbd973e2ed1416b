/**
 * A node as the engine meets it: a fence, a journal, one job at a time that goes forward, or back by
 * itself before its commit. It forgets nothing by a restart, answers a known command from its journal,
 * and holds every command against the one that had the same id before.
 */
import assert from 'node:assert/strict';
import type { CommandOutcome, EngineEvent, Observation } from '../../controller/rollout/events.js';
import {
  type Fault,
  type OpenCommand,
  type ReleaseRef,
  upgradingPhases,
} from '../../controller/rollout/rollout.js';
import { Command, type UpgradeStep } from '../../gen/plexi/v1/node_agent.js';

/** What a leader calls a node with. Tokens order as (term, seq). */
export interface Call {
  /** Which leader waits for the answer. */
  readonly session: number;
  readonly term: bigint;
  readonly seq: bigint;
  /** Absent: an adoption. */
  readonly sent: { readonly open: OpenCommand; readonly command: Command } | undefined;
}

/** An event on its way to the leader that waits for it. */
export interface Answer {
  readonly session: number;
  readonly event: EngineEvent;
}

/** What chance does to a job at its next step. */
export type Fate = 'fine' | 'fails' | 'fails for good';

interface Job {
  readonly id: string;
  readonly order: UpgradeStep;
  readonly payload: string;
  outcome: CommandOutcome | undefined;
}

interface Running {
  readonly job: Job;
  at: number;
  goingBack: boolean;
  /** Streams that hear of it, and the command that each was opened for. */
  readonly heardBy: { session: number; commandId: string }[];
}

const commitAt = upgradingPhases.indexOf('committing');

export class ModelAgent {
  reachable = true;
  removed = false;
  /** Nothing but commands changes what it runs. */
  readonly changed = false;
  inMaintenance = false;
  healthy = true;
  /** The journal cannot be written any more; the job stands still. */
  broken = false;
  /** Some command has begun to change it. */
  touched = false;
  goodSinceMs = 0;
  private readonly journal = new Map<string, Job>();
  private running: Running | undefined;
  private fence = { term: 0n, seq: 0n };

  constructor(
    readonly id: string,
    public release: ReleaseRef,
    private readonly answer: (answer: Answer) => void,
  ) {}

  get isWorking(): boolean {
    return this.running !== undefined;
  }

  /** Takes a call. `fate` is that of a check. */
  take(call: Call, fate: Fate): void {
    const { session, sent } = call;
    const say = (event: EngineEvent): void => this.answer({ session, event });
    if (sent === undefined) {
      if (!this.raise(call)) {
        say({ kind: 'adoption_failed', node: this.id, fault: { code: 'STALE_TOKEN', message: 'stale' } });
      } else say({ kind: 'adopted', node: this.id });
      return;
    }
    const refusal = this.admit(call, sent.command, sent.open);
    if (refusal !== undefined)
      say({ kind: 'refused', node: this.id, commandId: sent.open.id, fault: refusal });
    else if (sent.open.kind === 'preflight' || sent.open.kind === 'stage') this.check(call, sent.open, fate);
    else this.attend(call, sent.open, sent.command);
  }

  /** One phase further. */
  work(fate: Fate, nowMs: number): void {
    const { running } = this;
    if (running === undefined || this.broken) return;
    if (running.goingBack) {
      if (fate === 'fails for good') this.finish('rollback_failed', 'restore');
      else this.comeBack();
      return;
    }
    const phase = upgradingPhases[running.at];
    if (phase === undefined) {
      this.inMaintenance = false;
      this.goodSinceMs = nowMs;
      this.finish('done', '');
    } else if (fate !== 'fine' && running.at < commitAt) {
      running.goingBack = true;
      this.tell('rolling_back');
    } else if (fate === 'fails for good' && phase === 'leaving_maintenance') {
      this.finish('failed', 'leave_maintenance');
    } else {
      if (running.at === commitAt) this.release = this.target(running.job);
      this.tell(phase);
      running.at += 1;
    }
  }

  /** All streams break; the journal leads on, or back. */
  restart(goesBack: boolean, nowMs: number): void {
    const { running } = this;
    this.goodSinceMs = nowMs;
    if (running === undefined) return;
    running.heardBy.length = 0;
    if (goesBack && running.at < commitAt) running.goingBack = true;
  }

  /** The journal breaks in the middle of a job. */
  breakJournal(): void {
    const { running } = this;
    if (running === undefined) return;
    this.broken = true;
    for (const { session, commandId } of running.heardBy.splice(0)) {
      this.answer({ session, event: { kind: 'refused', node: this.id, commandId, fault: brokenFault } });
    }
  }

  observation(nowMs: number): Observation {
    return {
      health: this.healthy ? 'healthy' : 'unhealthy',
      healthReason: this.healthy ? '' : 'it says 503',
      goodForMs: this.healthy ? nowMs - this.goodSinceMs : 0,
      release: this.release,
      inMaintenance: this.inMaintenance,
    };
  }

  private admit(call: Call, command: Command, open: OpenCommand): Fault | undefined {
    if (this.broken) return brokenFault;
    const known = this.journal.get(open.id);
    if (known !== undefined) {
      assert.equal(payloadOf(command), known.payload, `${open.id} was given before with other contents`);
      return undefined;
    }
    const { running } = this;
    if (isBelow(call, this.fence)) return { code: 'STALE_TOKEN', message: 'stale' };
    const rollsBack =
      command.step?.$case === 'rollBack' && command.step.value.upgradeCommandId === running?.job.id;
    if (running !== undefined && !rollsBack) return { code: 'BUSY', message: `works on ${running.job.id}` };
    this.raise(call);
    if (command.step?.$case !== 'upgrade') return undefined;
    const order = command.step.value;
    if (order.from?.digest !== this.release.digest)
      return { code: 'NODE_CHANGED', message: 'it has changed' };
    const job: Job = { id: open.id, order, payload: payloadOf(command), outcome: undefined };
    this.journal.set(open.id, job);
    this.running = { job, at: 0, goingBack: false, heardBy: [] };
    this.inMaintenance = true;
    this.touched = true;
    return undefined;
  }

  private check({ session }: Call, open: OpenCommand, fate: Fate): void {
    const outcome = fate === 'fine' ? 'done' : 'failed';
    const failedStep = fate === 'fine' ? '' : open.kind;
    this.answer({ session, event: this.finished(open.id, outcome, failedStep) });
  }

  /** A job that is new, known, or to be taken back. */
  private attend({ session }: Call, open: OpenCommand, command: Command): void {
    const { running } = this;
    const jobId = command.step?.$case === 'rollBack' ? command.step.value.upgradeCommandId : open.id;
    const ended = this.journal.get(jobId)?.outcome;
    if (ended !== undefined) {
      this.answer({
        session,
        event: { kind: 'finished', node: this.id, commandId: open.id, outcome: ended },
      });
    } else if (running?.job.id === jobId) {
      running.heardBy.push({ session, commandId: open.id });
      if (open.kind === 'roll_back' && running.at <= commitAt) running.goingBack = true;
    } else {
      this.answer({ session, event: this.finished(open.id, 'rolled_back', '') });
    }
  }

  private comeBack(): void {
    this.inMaintenance = false;
    this.finish('rolled_back', 'probe');
  }

  private finish(outcome: CommandOutcome['outcome'], failedStep: string): void {
    const { running } = this;
    if (running === undefined) return;
    const { job, heardBy } = running;
    job.outcome = this.outcome(outcome, failedStep);
    this.running = undefined;
    for (const { session, commandId } of heardBy) {
      this.answer({ session, event: { kind: 'finished', node: this.id, commandId, outcome: job.outcome } });
    }
  }

  private tell(phase: string): void {
    for (const { session, commandId } of this.running?.heardBy ?? [])
      this.answer({ session, event: { kind: 'progress', node: this.id, commandId, phase, waitsFor: '' } });
  }

  private finished(commandId: string, outcome: CommandOutcome['outcome'], failedStep: string): EngineEvent {
    return { kind: 'finished', node: this.id, commandId, outcome: this.outcome(outcome, failedStep) };
  }

  private outcome(outcome: CommandOutcome['outcome'], failedStep: string): CommandOutcome {
    const failure = outcome === 'done' ? null : { code: 'PROBE_FAILED', message: `${this.id} says no` };
    return {
      outcome,
      failure,
      failedStep,
      release: this.release,
      problems: [],
      backupId: '',
      inMaintenance: false,
    };
  }

  private target(job: Job): ReleaseRef {
    const { to } = job.order;
    assert.ok(to);
    return { version: to.version, digest: to.digest };
  }

  private raise(call: Call): boolean {
    if (isBelow(call, this.fence)) return false;
    this.fence = { term: call.term, seq: call.seq };
    return true;
  }
}

const brokenFault: Fault = { code: 'JOURNAL_UNREADABLE', message: 'the journal cannot be written' };

function isBelow(call: Call, fence: { term: bigint; seq: bigint }): boolean {
  return call.term < fence.term || (call.term === fence.term && call.seq < fence.seq);
}

/** Everything but the token. */
function payloadOf(command: Command): string {
  return Buffer.from(Command.encode({ ...command, token: undefined }).finish()).toString('base64');
}
