/**
 * Asks a staged release whether its migrations would work on this node: each `check` is a dry run
 * that must change nothing, beside the service that runs on. A migration without one is passed over:
 * the backup stands behind it. A failure ends the staging, before anything was touched.
 */
import { join } from 'node:path';
import { PlexiError } from '../../config/errors.js';
import type { MigrationStep } from '../../gen/plexi/v1/node_agent.js';
import { type AgentNode, commandEnvironment, type LocalRelease } from '../node.js';
import { whyItFailed } from '../service/command-run.js';
import { runProgram } from './program.js';

interface Staged {
  readonly release: LocalRelease;
  readonly commandId: string;
  /** Aborted when the time for the staging is over. */
  readonly signal: AbortSignal;
}

/** Runs the checks of the migrations that lead up. Errors: MIGRATION_FAILED naming the first that fails. */
export async function checkMigrations(
  node: AgentNode,
  steps: readonly MigrationStep[],
  staged: Staged,
): Promise<void> {
  for (const step of steps) if (step.direction === 'up') await checkMigration(node, step, staged);
}

async function checkMigration(node: AgentNode, step: MigrationStep, staged: Staged): Promise<void> {
  const { release, commandId, signal } = staged;
  const migration = release.manifest.migrations.find(({ id }) => id === step.id);
  if (migration?.checksum !== step.checksum) {
    throw new PlexiError(
      'MIGRATION_FAILED',
      `migration ${step.id} of the plan is not in release ${release.version}, or differs from it; plan again`,
    );
  }
  if (migration.check === undefined) return;
  const what = `check of migration ${step.id}`;
  const result = await runProgram(node, {
    what,
    name: step.id,
    commandId,
    argv: migration.check,
    cwd: join(node.paths.releases, release.folder),
    env: commandEnvironment(node, release),
    timeoutMs: migration.timeoutMs,
    signal,
    endsWhole: true,
  });
  if (result.exitCode === 0 && !result.leftRunning) return;
  throw new PlexiError(
    'MIGRATION_FAILED',
    `the ${what} of ${release.version} on ${node.config.node} failed, and nothing was touched: ${whyItFailed(result)}`,
  );
}
