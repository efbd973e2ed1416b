/**
 * A rollout from the plan to its end, for every word that makes one: plan, show, ask, start, follow.
 * Invariant: nothing is started that the operator (or the script with `--yes`) was not shown first,
 * since the start carries the digest of the plan that was shown and the controllers refuse any other.
 */
import type { Command } from 'commander';
import { nanoid } from 'nanoid';
import { PlexiError } from '../../config/errors.js';
import type { Plan, RolloutRequest } from '../../gen/plexi/v1/rollouts.js';
import { type ClusterClient, withCluster } from '../client.js';
import { type CliContext, type ConnectionOptions, isMachineOutput, mayColour } from '../context.js';
import { leaderDocument, planDocument } from '../render/documents.js';
import { groupByNode } from '../render/group.js';
import { palette } from '../render/palette.js';
import { count, isNothingToDo, planText } from '../render/plan.js';
import { confirmed } from './confirm.js';
import { type FollowOptions, followRollout, isFollowed, withFollowOptions } from './follow.js';

/** How a rollout is run, whatever it is about. */
export interface RunOptions extends ConnectionOptions, FollowOptions {
  readonly dryRun?: boolean;
  readonly yes?: boolean;
}

/** Adds the options of `RunOptions`, and those that every rollout has besides. */
export function withRunOptions(command: Command): Command {
  return withFollowOptions(
    command
      .option('--dry-run', 'show the plan and change nothing')
      .option('-y, --yes', 'do not ask')
      .option('--force', 'go on in spite of warnings'),
  ).option('--reason <text>', 'why, for the record');
}

/**
 * Plans, shows, asks, starts and follows. `makeRequest` is asked once the cluster is known. Errors:
 * PLAN_REFUSED, NOT_CONFIRMED, RolloutEnded, and those of the controllers.
 */
export function runRollout(
  context: CliContext,
  options: RunOptions,
  makeRequest: (client: ClusterClient) => RolloutRequest | Promise<RolloutRequest>,
): Promise<void> {
  const follow = isFollowed(options);
  return withCluster(context, options, async (client) => {
    const request = await makeRequest(client);
    const plan = await client.plan(request);
    if (isNothingToDo(plan)) return showNothingToDo(context, client, plan, options.dryRun === true);
    if (options.dryRun === true) {
      context.show(planDocument(plan), () => planFor(context.stdoutIsTerminal, context, plan));
      return refuseProblems(plan);
    }
    const mustAsk = plan.requireConfirmation && options.yes !== true;
    showPlan(context, plan, mustAsk);
    refuseProblems(plan);
    if (mustAsk) await confirmed(context, client.identity.cluster, `Roll out ${plan.to}`);
    await start(context, client, plan, request, follow);
  });
}

/** People see the plan on stdout; beside a document it goes to stderr, and only when somebody is asked. */
function showPlan(context: CliContext, plan: Plan, mustAsk: boolean): void {
  if (!isMachineOutput(context.output())) context.stdout(planFor(context.stdoutIsTerminal, context, plan));
  else if (mustAsk && context.stdinIsTerminal)
    context.stderr(planFor(context.stderrIsTerminal, context, plan));
}

function planFor(isTerminal: boolean, context: CliContext, plan: Plan): string {
  return planText(plan, palette(mayColour(isTerminal, context.environment)));
}

async function showNothingToDo(
  context: CliContext,
  client: ClusterClient,
  plan: Plan,
  dryRun: boolean,
): Promise<void> {
  const done = plan.stageOnly ? 'has' : 'runs';
  const sentence = plan.nodes.length === 0 ? 'no node is chosen' : `every node ${done} ${plan.to} already`;
  if (dryRun) return context.show(planDocument(plan), () => sentence);
  if (!isMachineOutput(context.output())) return context.stdout(`${sentence}\n`);
  context.show(await nothingToDoDocument(client), () => sentence);
}

/** The document of a status without a rollout, for a start that found nothing to do. */
export async function nothingToDoDocument(client: ClusterClient): Promise<object> {
  const { leader } = await client.status('');
  return {
    cluster: client.identity.cluster,
    leader: leader === undefined ? null : leaderDocument(leader),
    rollout: null,
    nothingToDo: true,
  };
}

function refuseProblems(plan: Plan): void {
  if (plan.problems.length === 0) return;
  const grouped = groupByNode(
    plan.problems,
    plan.nodes.map(({ id }) => id),
  );
  const sentence = `the rollout to ${plan.to} has ${count(grouped.length, 'problem')}, so nothing was started: ${grouped.join('; ')}`;
  const { cluster, problems } = plan;
  throw new PlexiError('PLAN_REFUSED', sentence, { details: { cluster, problems } });
}

async function start(
  context: CliContext,
  client: ClusterClient,
  plan: Plan,
  request: RolloutRequest,
  follow: boolean,
): Promise<void> {
  const started = await client.start(request, plan.digest, nanoid());
  if (started.nothingToDo) return showNothingToDo(context, client, plan, false);
  const { cluster } = client.identity;
  if (!follow) return context.show({ cluster, rollout: started.id }, () => started.id);
  await followRollout(context, client, started.id);
}
