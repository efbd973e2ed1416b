/**
 * Following a rollout to its end, for every command that does: progress on stderr, one document at the
 * end (or one a change with `-o jsonl`) on stdout, and the exit code that the rollout itself names.
 * Ctrl-C detaches and touches nothing: the rollout belongs to the controllers.
 */
import type { Command } from 'commander';
import { type ErrorCode, isErrorCode, PlexiError } from '../../config/errors.js';
import type { ClusterStatus, Rollout } from '../../gen/plexi/v1/rollouts.js';
import type { ClusterClient } from '../client.js';
import { type CliContext, type Interruptible, mayColour } from '../context.js';
import { statusDocument } from '../render/documents.js';
import { progressView } from '../render/live.js';
import { palette } from '../render/palette.js';
import { isFinal, isStoppedByFailure } from '../render/phases.js';
import { endSentence, firstFailure, summaryText } from '../render/summary.js';
import { Interrupted } from './interrupted.js';

/** Whether a command that starts something stays until its end. */
export interface FollowOptions {
  /** False: start it, print its id and do not follow. */
  readonly wait?: boolean;
  readonly watch?: boolean;
}

/** Adds the options of `FollowOptions`; to follow is the default. */
export function withFollowOptions(command: Command): Command {
  return command
    .option('--no-wait', 'start, print the id, and do not follow')
    .option('-w, --watch', 'follow it to its end (this is the default)');
}

/** Whether what is started is followed. Errors: USAGE, when both are said. */
export function isFollowed({ wait, watch }: FollowOptions): boolean {
  if (watch === true && wait === false)
    throw new PlexiError('USAGE', 'give only one of --watch and --no-wait');
  return wait !== false;
}

/** Exit codes of a rollout that did not succeed (contract, section 2). */
const endCodes: readonly number[] = [1, 3, 4, 5];

/** A rollout that was followed ended with an exit code of its own. */
export class RolloutEnded extends Error {
  readonly code: ErrorCode;
  readonly exitCode: number;
  readonly details: Readonly<Record<string, unknown>>;

  constructor(rollout: Rollout, cluster: string) {
    super(endSentence(rollout));
    const failed = firstFailure(rollout);
    const code = failed?.error?.code ?? '';
    // Only the contract's own codes: the system would make something else of a greater number. In the word of
    // a later controller the nodes may be anything, and 1 would say that they are all back: somebody looks.
    this.exitCode = endCodes.includes(rollout.exitCode) ? rollout.exitCode : 4;
    this.code = isErrorCode(code) ? code : codeOfExit(this.exitCode);
    this.details = { cluster, rollout: rollout.id, phase: rollout.phase, ...(failed && { node: failed.id }) };
  }
}

function codeOfExit(exitCode: number): ErrorCode {
  if (exitCode === 3) return 'PREFLIGHT_FAILED';
  return exitCode === 4 ? 'ROLLBACK_FAILED' : 'CANCELLED';
}

/**
 * Follows the named rollout, with '' the active one, else the last. Returns when it ended well; throws
 * RolloutEnded when it did not, Interrupted when it was detached from, and PlexiError when it can no
 * longer be followed.
 */
export async function followRollout(context: CliContext, client: ClusterClient, id: string): Promise<void> {
  const interruptible = context.interruptible();
  try {
    await followUntil(context, client, id, interruptible);
  } finally {
    interruptible.release();
  }
}

async function followUntil(
  context: CliContext,
  client: ClusterClient,
  id: string,
  { signal }: Interruptible,
): Promise<void> {
  const last = await watch(context, client, id, signal);
  const everyChange = context.output() === 'jsonl';
  const { cluster } = client.identity;
  if (signal.aborted) {
    if (!everyChange && last !== undefined) context.show(statusDocument(last, cluster), () => '');
    throw detached(last?.rollout?.id ?? id, cluster);
  }
  const rollout = last?.rollout;
  if (!everyChange && last !== undefined) {
    const paint = palette(mayColour(context.stdoutIsTerminal, context.environment));
    context.show(statusDocument(last, cluster), () =>
      rollout === undefined ? noRolloutText : summaryText(rollout, paint),
    );
  }
  if (rollout !== undefined && rollout.exitCode !== 0) throw new RolloutEnded(rollout, cluster);
}

const noRolloutText = 'No rollout yet. Start one with `plexictl rollout --to VERSION`.';

function detached(id: string, cluster: string): Interrupted {
  const again = `plexictl watch${id === '' ? '' : ` ${id}`}`;
  const sentence = `detached; the rollout goes on. Attach again with: ${again}`;
  return new Interrupted(sentence, { cluster, rollout: id === '' ? null : id });
}

/** Shows each status until nothing more will change without an operator; returns the last one. */
async function watch(
  context: CliContext,
  client: ClusterClient,
  id: string,
  signal: AbortSignal,
): Promise<ClusterStatus | undefined> {
  const view = await progressView(context);
  let last: ClusterStatus | undefined;
  let isOver = false;
  try {
    for await (const status of client.watchRollout(id, signal, view.note)) {
      last = status;
      view.show(status);
      if (context.output() === 'jsonl')
        context.show(statusDocument(status, client.identity.cluster), () => '');
      if (status.rollout === undefined || isFinal(status.rollout) || isStoppedByFailure(status.rollout))
        break;
    }
    isOver = !signal.aborted;
  } finally {
    // The summary on the same terminal says all that the last picture does.
    view.close(!(isOver && context.stdoutIsTerminal));
  }
  return last;
}
