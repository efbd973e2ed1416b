/**
 * Ctrl-C on something that would have gone on: a followed rollout or a followed log. It is no failure,
 * but a script must see that the end was not awaited, so it has the shell's own exit code for it.
 */
import type { ErrorCode } from '../../config/errors.js';

/** The exit code of a command that let go of something that goes on. */
export const interruptedExitCode = 130;

/** Somebody pressed Ctrl-C; the sentence says what goes on without us. */
export class Interrupted extends Error {
  readonly code: ErrorCode = 'INTERRUPTED';
  readonly exitCode = interruptedExitCode;
  /** Facts for scripts. */
  readonly details: Readonly<Record<string, unknown>>;

  constructor(message: string, details: Readonly<Record<string, unknown>>) {
    super(message);
    this.details = details;
  }
}
