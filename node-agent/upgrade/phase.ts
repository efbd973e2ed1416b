/**
 * What one step of a job looks like to the executor. A step changes one thing, may be interrupted at
 * any point, and says what a restart in its middle means.
 */
import type { UpgradeStep } from '../../gen/plexi/v1/node_agent.js';
import type { Job } from '../journal/journal.js';
import type { OnRestart } from '../journal/recover.js';
import type { AgentNode, LocalRelease } from '../node.js';
import type { StartWord } from './start-word.js';

/** What a step gets to work with. */
export interface PhaseContext {
  readonly node: AgentNode;
  readonly job: Job;
  readonly order: UpgradeStep;
  /** What ran before; undefined: nothing was installed. */
  readonly before: LocalRelease | undefined;
  /** What shall run; undefined: nothing. */
  readonly after: LocalRelease | undefined;
  /** Aborted when the step's time is over, or when the job is cancelled in a step that allows it. */
  readonly signal: AbortSignal;
  /** What is left of the step's time, in milliseconds. */
  readonly timeoutMs: number;
  /** Tells how far the step is, 0 to 100, and what a person must do before it goes on. */
  progress(percent: number, message: string, waitsFor?: string): void;
  /** What a person says to a step that waits for a start. */
  readonly startWord: StartWord;
}

/** What is known of a job where its next step is looked for. */
export interface JobSoFar extends Pick<Job, 'facts'> {
  /** Steps that were begun; none yet where the first one is looked for. */
  readonly begun: readonly string[];
}

export interface Phase {
  /** The step's name in journal, log and result. */
  readonly step: string;
  /** The node phase of the contract that others see meanwhile. */
  readonly phase: string;
  /** A restart in the middle: begin again, wait on, or go back? Steps of the way back are always begun again. */
  readonly onRestart: OnRestart;
  /** A roll_back command may interrupt it, instead of waiting for its end. */
  readonly cancellable: boolean;
  timeoutMs(order: UpgradeStep): number;
  /** Whether this job needs the step at all. */
  applies(
    order: UpgradeStep,
    job: JobSoFar,
    /** What shall run, once that is known; at the beginning of a job it is not yet. */
    after: LocalRelease | undefined,
  ): boolean;
  run(context: PhaseContext): Promise<void>;
}
