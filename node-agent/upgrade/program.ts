/**
 * Runs one program of an operator or a release on this node: a hook, a migration, a migration's
 * check, a test. All of them go through here, so that each gets the node's secrets, as they are at
 * this moment, and leaves the same traces, in which no secret stands.
 */
import { appendHookLog } from '../logs/hook-log.js';
import type { AgentNode } from '../node.js';
import { readSecrets, type Secret } from '../secrets/read-secrets.js';
import { type CommandResult, FIRST_GIVEN, runCommand } from '../service/command-run.js';

/** Characters of its output that stand in the node's own log. */
const outputCharsLogged = 2_000;

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
  /** What it leaves running is ended behind it. Not for a hook, which may start what is to stay. */
  readonly endsWhole?: boolean;
}

/**
 * Runs a program to its end. It succeeded when the exit code is 0.
 * Errors: SECRET_UNREADABLE; the program was not run then.
 */
export async function runProgram(node: AgentNode, run: ProgramRun): Promise<CommandResult> {
  const secrets = await readSecrets(node.config.secrets);
  const { argv, cwd, timeoutMs, signal, endsWhole = false } = run;
  const env = { ...run.env, ...secretVariables(secrets) };
  const hidden = secrets.map(({ value }) => value);
  const given = secrets.filter(({ as }) => as === 'descriptor').map(({ value }) => value);
  const result = await runCommand({ argv, cwd, env, timeoutMs, signal, hidden, given, endsWhole });
  await record(node, run, result);
  return result;
}

/** In the node's log, and whole in a log of its own; what cannot be kept there fails nothing. */
async function record(node: AgentNode, run: ProgramRun, result: CommandResult): Promise<void> {
  const { what, name, commandId } = run;
  const { exitCode, sentence, output } = result;
  const durationMs = Math.round(result.durationMs);
  node.log.info(
    { commandId, what, exitCode, durationMs, output: output.slice(-outputCharsLogged) },
    sentence,
  );
  try {
    const at = node.clock.wall();
    await appendHookLog(node.hookLogs, name, { at, commandId, what, sentence, output });
  } catch (thrown) {
    node.log.warn({ commandId, what, err: thrown }, 'its output could not be kept');
  }
}

/** `NAME` holds the value, or `NAME_FD` the number of the descriptor to read it from. */
function secretVariables(secrets: readonly Secret[]): Record<string, string> {
  let descriptor = FIRST_GIVEN;
  return Object.fromEntries(
    secrets.map(({ name, value, as }) =>
      as === 'environment' ? [name, value.toString('utf8')] : [`${name}_FD`, String(descriptor++)],
    ),
  );
}
