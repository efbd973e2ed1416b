/**
 * The command probe: a program of the operator says whether the service is healthy, and is told the
 * version that should run. One that could not be run, or did not end in time, has said nothing.
 */
import type { ProbeConfig } from '../../config/schema/probes.js';
import { type CommandResult, runCommand } from './command-run.js';
import { lastLineOf } from './last-line.js';
import type { ProbeSample, ProbeTry } from './probe-sample.js';

/** Runs the program once; a late one is ended, which may take some seconds more. Never rejects of itself. */
export async function sampleCommand(
  probe: Extract<ProbeConfig, { kind: 'command' }>,
  { expectedVersion = '', tryMs, subject, signal }: ProbeTry,
): Promise<ProbeSample> {
  const env = { ...(await subject.env()), PLEXI_EXPECTED_VERSION: expectedVersion };
  const timeoutMs = Math.round(tryMs);
  const result = await runCommand({ argv: probe.argv, cwd: subject.cwd, env, timeoutMs, signal });
  return judge(probe.argv[0] ?? 'the command', result);
}

/** The sentence has no duration in it: the same answer must read the same each time. */
function judge(program: string, result: CommandResult): ProbeSample {
  const line = lastLineOf(result.output);
  if (result.cancelled) return { result: 'error', reason: `${program} was cancelled` };
  if (result.timedOut || result.leftRunning) return { result: 'error', reason: `${result.sentence}${line}` };
  if (result.exitCode === 0) return { result: 'good', reason: `${program} succeeded${line}` };
  if (result.exitCode !== null) {
    return { result: 'bad', reason: `${program} ended with exit code ${result.exitCode}${line}` };
  }
  const how = result.signal === null ? result.sentence : `${program} was ended by ${result.signal}`;
  return { result: 'error', reason: `${how}${line}` };
}
