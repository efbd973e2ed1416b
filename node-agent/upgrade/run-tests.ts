/**
 * The release's own tests, once its service is healthy and before the node commits to it. A test
 * passes when its program ends with exit code 0, the service still runs, and the text that the test
 * forbids stands nowhere in what the service has printed since this job started it. What cannot be
 * looked at does not pass.
 */
import { join } from 'node:path';
import { PlexiError } from '../../config/errors.js';
import type { ReleaseTest } from '../../release/manifest-shape.js';
import { whereLoggedSince } from '../logs/service-logs.js';
import { commandEnvironment, type LocalRelease } from '../node.js';
import { whyItFailed } from '../service/command-run.js';
import { ensureRunning } from './apply.js';
import type { Phase, PhaseContext } from './phase.js';
import { probeRelease } from './probe.js';
import { runProgram } from './program.js';

export const testStep: Phase = {
  step: 'test',
  phase: 'probing',
  onRestart: 'redo',
  cancellable: true,
  timeoutMs: (order) => Number(order.timeouts?.testMs ?? 0n),
  applies: (order, _job, after) => order.tests && after !== undefined && after.manifest.tests.length > 0,
  async run(context) {
    const { node, after } = context;
    if (after === undefined) return;
    await healthyAgain(context, after);
    const { tests } = after.manifest;
    for (const [index, test] of tests.entries()) {
      context.progress(Math.floor((100 * index) / tests.length), `test ${test.name}`);
      await runTest(context, after, test);
    }
    node.log.info({ commandId: context.job.commandId, tests: tests.length }, 'the tests passed');
  },
};

/** After a power cut in this step the service does not run: a test of it would prove nothing. */
async function healthyAgain(context: PhaseContext, release: LocalRelease): Promise<void> {
  if (context.job.resumed === 0 || (await context.node.service.isRunning())) return;
  await ensureRunning(context.node, release);
  await probeRelease(context, release);
}

async function runTest(context: PhaseContext, release: LocalRelease, test: ReleaseTest): Promise<void> {
  const { node, job, signal } = context;
  const result = await runProgram(node, {
    what: `test ${test.name}`,
    name: test.name,
    commandId: job.commandId,
    argv: test.command,
    cwd: join(node.paths.releases, release.folder),
    env: commandEnvironment(node, release),
    timeoutMs: Math.min(test.timeoutMs, context.timeoutMs),
    signal,
    endsWhole: true,
  });
  const where = `test ${test.name} of ${release.version} on ${node.config.node}`;
  if (result.leftRunning) throw new PlexiError('COMMAND_LEFT_RUNNING', `${where}: ${result.sentence}`);
  if (result.exitCode !== 0) throw new PlexiError('TEST_FAILED', `${where} failed: ${whyItFailed(result)}`);
  if (!(await node.service.isRunning())) {
    const { ended } = await node.service.describe();
    const how = ended === undefined ? '' : ` (${ended})`;
    throw new PlexiError('TEST_FAILED', `${where}: the service does not run any more${how}`);
  }
  await refuseLogged(context, test, where);
}

async function refuseLogged(context: PhaseContext, test: ReleaseTest, where: string): Promise<void> {
  if (test.mustNotLog === undefined) return;
  const { node, job, signal } = context;
  const path = await whereLoggedSince(node, job.commandId, test.mustNotLog, signal);
  if (path === undefined) return;
  throw new PlexiError(
    'TEST_FAILED',
    `${where}: the service printed ${JSON.stringify(test.mustNotLog)}, which this test forbids; see ${path}`,
  );
}
