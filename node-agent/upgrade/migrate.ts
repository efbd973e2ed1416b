/**
 * The node-local migrations that the plan pinned, one by one, in its order. `up` comes from the
 * release that shall run, `down` from the newer one that ran (helm #5825 shows why). A migration is
 * never begun again by itself: it may have done half of its work, so an interruption goes back to
 * the backup. What they wrote is flushed before the next step is announced: from then on it counts. So nothing
 * that one has started outlives it: it would write behind the flush, or under the restore.
 */
import { join } from 'node:path';
import { PlexiError } from '../../config/errors.js';
import type { MigrationStep } from '../../gen/plexi/v1/node_agent.js';
import { flushTree } from '../disk/flush-tree.js';
import { type AgentNode, commandEnvironment } from '../node.js';
import { whyItFailed } from '../service/command-run.js';
import type { Phase, PhaseContext } from './phase.js';
import { runProgram } from './program.js';

export const migrateStep: Phase = {
  step: 'migrate',
  phase: 'migrating',
  onRestart: 'roll_back',
  cancellable: false,
  timeoutMs: (order) => Number(order.timeouts?.migrateMs ?? 0n),
  applies: (order) => order.migrations.length > 0,
  async run(context) {
    const { migrations } = context.order;
    for (const [index, migration] of migrations.entries()) {
      context.progress(Math.floor((100 * index) / migrations.length), migration.id);
      await runMigration(context, migration);
    }
    await flushMigrated(context.node);
  },
};

/** Where a migration writes, and whatever else a backup would bring back. */
async function flushMigrated({ paths, config }: AgentNode): Promise<void> {
  const backedUp = config.backup.paths.map((path) => join(paths.root, path));
  for (const folder of new Set([paths.data, paths.config, ...backedUp])) await flushTree(folder);
}

async function runMigration(context: PhaseContext, step: MigrationStep): Promise<void> {
  const release = step.direction === 'down' ? context.before : context.after;
  const migration = release?.manifest.migrations.find((candidate) => candidate.id === step.id);
  if (release === undefined || migration === undefined || migration.checksum !== step.checksum) {
    throw new PlexiError(
      'MIGRATION_FAILED',
      `migration ${step.id} of the plan is not in the release on this node, or differs from it`,
    );
  }
  const argv = step.direction === 'down' ? migration.down : migration.up;
  const what = `migration ${step.id} (${step.direction})`;
  const result = await runProgram(context.node, {
    what,
    name: step.id,
    commandId: context.job.commandId,
    argv,
    cwd: join(context.node.paths.releases, release.folder),
    env: commandEnvironment(context.node, release),
    timeoutMs: Math.min(migration.timeoutMs, context.timeoutMs),
    signal: context.signal,
    endsWhole: true,
  });
  if (result.leftRunning) {
    throw new PlexiError('COMMAND_LEFT_RUNNING', `${what}: ${result.sentence}`);
  }
  if (result.exitCode === 0) return;
  throw new PlexiError('MIGRATION_FAILED', `${what}: ${whyItFailed(result)}`);
}
