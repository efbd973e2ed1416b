/**
 * `plexictl rollback`: takes a finished rollout back and follows that to its end, so that the exit code
 * says whether everything is back. What it would take back is shown first, and the
 * rollout that was shown is the one that is named to the leader, so that another one which ends in
 * between is never taken back instead.
 */
import type { Command } from 'commander';
import { nanoid } from 'nanoid';
import { PlexiError } from '../../config/errors.js';
import { type Rollout, RolloutRequest } from '../../gen/plexi/v1/rollouts.js';
import { type ClusterClient, withCluster } from '../client.js';
import { type CliContext, isMachineOutput, withConnection } from '../context.js';
import { isFinal } from '../render/phases.js';
import { rollbackText } from '../render/rollback.js';
import type { ChangeOptions } from './change-node.js';
import { confirmed } from './confirm.js';
import { type FollowOptions, followRollout, isFollowed, withFollowOptions } from './follow.js';
import { checkedReason } from './option-values.js';
import { nothingToDoDocument } from './run-rollout.js';

interface RollbackOptions extends ChangeOptions, FollowOptions {
  readonly updateId?: string;
  readonly yes?: boolean;
}

/** Adds `rollback` to the program. */
export function registerRollback(program: Command, context: CliContext): void {
  rollbackCommand(program.command('rollback'), context, 'plexictl rollback');
}

/** Makes `command` a rollback; `words` are how it is called, for its help. */
export function rollbackCommand(command: Command, context: CliContext, words: string): void {
  command
    .summary('take a finished rollout back')
    .description(
      'Take the last finished rollout back, or the one that is named, and follow it to its end: code and data together.',
    )
    .option('--update-id <id>', 'id of the rollout to take back')
    .option('-y, --yes', 'do not ask')
    .option('--reason <text>', 'why, for the record');
  withConnection(withFollowOptions(command))
    .addHelpText('after', `\nExample:\n  ${words} --update-id update_0a1_0b1_20241219_120000`)
    .action((options: RollbackOptions) => {
      const reason = checkedReason(options.reason);
      const follow = isFollowed(options);
      return withCluster(context, options, (client) => rollBack(context, client, options, reason, follow));
    });
}

async function rollBack(
  context: CliContext,
  client: ClusterClient,
  options: RollbackOptions,
  reason: string,
  follow: boolean,
): Promise<void> {
  const { cluster } = client.identity;
  const rollout = await finishedRollout(client, options.updateId ?? '');
  const mustAsk = options.yes !== true && (await wantsConfirmation(client, rollout));
  const text = rollbackText(rollout, cluster);
  if (!isMachineOutput(context.output())) context.stdout(text);
  else if (mustAsk && context.stdinIsTerminal) context.stderr(text);
  if (mustAsk) await confirmed(context, cluster, `Take ${rollout.id} back`);
  const id = await client.rollback(rollout.id, reason, nanoid());
  if (id === '') {
    // Nothing was started, and following '' would follow whatever is the last rollout.
    const sentence = `${rollout.id} in cluster ${cluster}: nothing to take back`;
    return context.show(await nothingToDoDocument(client), () => sentence);
  }
  if (!follow) return context.show({ cluster, rollout: id }, () => id);
  await followRollout(context, client, id);
}

async function finishedRollout(client: ClusterClient, id: string): Promise<Rollout> {
  const { rollout } = await client.status(id);
  const { cluster } = client.identity;
  if (rollout === undefined) {
    throw new PlexiError('NOT_FOUND', `cluster ${cluster} had no rollout yet, so there is none to take back`);
  }
  if (isFinal(rollout)) return rollout;
  throw new PlexiError(
    'ROLLOUT_ACTIVE',
    `${rollout.id} of cluster ${cluster} is not over; take it back with \`plexictl abort --rollback\``,
    { details: { cluster, rollout: rollout.id } },
  );
}

/**
 * Whether the cluster's policy wants somebody to be asked. A plan says so; when none can be made, for
 * example because the release is gone, it is better to ask.
 */
async function wantsConfirmation(client: ClusterClient, rollout: Rollout): Promise<boolean> {
  try {
    return (await client.plan(RolloutRequest.fromPartial({ to: rollout.to }))).requireConfirmation;
  } catch (thrown) {
    if (thrown instanceof PlexiError && thrown.exitCode === 3) return true;
    throw thrown;
  }
}
