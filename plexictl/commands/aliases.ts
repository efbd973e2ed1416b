/**
 * Words for fingers that learned others: `rollout status|pause|resume|undo|history|restart` as kubectl
 * has them, and `update …`. Each is the same command as the word it stands for, with the same options;
 * only `rollout restart` is put together here.
 */
import type { Command } from 'commander';
import { PlexiError } from '../../config/errors.js';
import type { Node } from '../../gen/plexi/v1/nodes.js';
import { RolloutRequest } from '../../gen/plexi/v1/rollouts.js';
import type { ClusterClient } from '../client.js';
import type { CliContext } from '../context.js';
import { nameList } from '../render/group.js';
import { registerPause, registerResume } from './control.js';
import { registerHistory } from './history.js';
import { rollbackCommand } from './rollback.js';
import { registerDowngrade, rolloutCommand, withRolloutOptions } from './rollout.js';
import { type RequestOptions, requestFor } from './rollout-request.js';
import { type RunOptions, runRollout } from './run-rollout.js';
import { registerStatus } from './status.js';
import { registerVersion } from './version.js';

/** Adds kubectl's words under `rollout`. */
export function registerKubectlRolloutWords(rollout: Command, context: CliContext): void {
  registerStatus(rollout, context);
  registerPause(rollout, context);
  registerResume(rollout, context);
  rollbackCommand(rollout.command('undo'), context, 'plexictl rollout undo');
  registerHistory(rollout, context);
  registerRestart(rollout, context);
}

/** Adds `update` with the words under it. */
export function registerUpdateWords(program: Command, context: CliContext): void {
  const update = program
    .command('update')
    .summary('other names: update upgrade is rollout, and so on')
    .description('Other names for words of plexictl; `update upgrade` is `rollout`.')
    .addHelpText('after', '\nExample:\n  plexictl update upgrade --to 0b1 --dry-run');
  rolloutCommand(update.command('upgrade'), context, 'plexictl update upgrade');
  registerDowngrade(update.command('downgrade'), context, 'plexictl update downgrade');
  registerVersion(update, context);
  registerStatus(update, context);
  registerHistory(update, context);
  rollbackCommand(update.command('rollback'), context, 'plexictl update rollback');
}

type RestartOptions = RequestOptions & RunOptions;

function registerRestart(rollout: Command, context: CliContext): void {
  const command = rollout
    .command('restart')
    .summary('restart the service, node by node')
    .description(
      'Restart the service on all nodes, or on those that are chosen, node by node, with the version that they run.',
    )
    .option('--to <version>', 'version that they run (default: the one that all of them run)');
  withRolloutOptions(command)
    .addHelpText('after', '\nExample:\n  plexictl rollout restart --node node-2')
    .action((options: RestartOptions) => {
      const request = requestFor(options.to ?? '', { ...options, restart: true }, false);
      return runRollout(context, options, async (client) =>
        RolloutRequest.fromPartial({ ...request, to: request.to || (await versionOfAll(client, request)) }),
      );
    });
}

/** The version that all chosen nodes run; with several nobody can say which one is meant. */
async function versionOfAll(client: ClusterClient, request: RolloutRequest): Promise<string> {
  const chosen = (await client.nodes()).filter((node) => isChosen(node, request));
  const versions = [...new Set(chosen.map(({ version }) => version))].filter(
    (version) => version !== '' && version !== 'none',
  );
  const [version] = versions;
  if (version !== undefined && versions.length === 1) return version;
  const { cluster } = client.identity;
  const found = versions.length === 0 ? 'run nothing' : `run ${nameList(versions)}`;
  throw new PlexiError(
    'PLAN_REFUSED',
    `the chosen nodes of cluster ${cluster} ${found}, so it is not clear what to restart; say it with --to VERSION`,
    { details: { cluster, versions } },
  );
}

function isChosen({ id, labels }: Node, { nodes, exclude, selectors }: RolloutRequest): boolean {
  const own = new Set(Object.entries(labels).map(([key, value]) => `${key}=${value}`));
  return (
    (nodes.length === 0 || nodes.includes(id)) &&
    !exclude.includes(id) &&
    selectors.every((selector) => own.has(selector))
  );
}
