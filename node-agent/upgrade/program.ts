/**
 * Runs one program of an operator or a release on this node: a hook, a migration, a migration's
 * check, a test. All of them go through here, so that each gets the same environment, bounds and
 * traces.
 */
import type { AgentNode } from '../node.js';
import { type CommandResult, runCommand } from '../service/command-run.js';

export interface ProgramRun {
  /** What it is, for people: `migration 001-format (up)`. */
  readonly what: string;
  /** The name under which its output is kept: `enter`, `leave`, a migration's id, a test's name. */
  readonly name: string;
  /** The command that it belongs to. */
  readonly commandId: string;
  readonly argv: readonly string[];
  /** The folder it starts in, absolute. */
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/** Runs a program to its end. It succeeded when the exit code is 0. */
export async function runProgram(node: AgentNode, run: ProgramRun): Promise<CommandResult> {
  const { argv, cwd, env, timeoutMs, signal } = run;
  const result = await runCommand({ argv, cwd, env, timeoutMs, signal });
  const { what, commandId } = run;
  const { exitCode, durationMs } = result;
  node.log.info({ commandId, what, exitCode, durationMs: Math.round(durationMs) }, result.sentence);
  return result;
}

/** Why a program failed, with the last line that it printed. */
export function whyItFailed(result: CommandResult): string {
  const line = result.output.trim().split('\n').at(-1) ?? '';
  return line === '' ? result.sentence : `${result.sentence} (${line})`;
}
