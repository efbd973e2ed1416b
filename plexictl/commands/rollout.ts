/**
 * `plexictl rollout` and `plexictl downgrade`: plan, show, ask, start, follow. Invariant: nothing is
 * started that the operator (or the script with `--yes`) was not shown first, since the start carries
 * the digest of the plan that was shown and the controllers refuse any other.
 */
import type { Command } from 'commander';
import { nanoid } from 'nanoid';
import { PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import { type Plan, RolloutRequest } from '../../gen/plexi/v1/rollouts.js';
import { type ClusterClient, withCluster } from '../client.js';
import {
  type CliContext,
  type ConnectionOptions,
  isMachineOutput,
  mayColour,
  withConnection,
} from '../context.js';
import { leaderDocument, planDocument } from '../render/documents.js';
import { palette } from '../render/palette.js';
import { count, isNothingToDo, planText } from '../render/plan.js';
import { followRollout } from './follow.js';
import { checkedReason, labelTexts, nameList, wholeNumber } from './option-values.js';

interface RolloutOptions extends ConnectionOptions {
  readonly to?: string;
  readonly latest?: boolean;
  readonly stable?: boolean;
  readonly dryRun?: boolean;
  readonly yes?: boolean;
  readonly maxConcurrent?: number;
  readonly canary?: number;
  readonly canarySelector?: string;
  readonly node?: string[];
  readonly selector?: string[];
  readonly exclude?: string[];
  readonly force?: boolean;
  readonly wait: boolean;
  readonly reason?: string;
}

/** Adds `rollout` and `downgrade` to the program. */
export function registerRollout(program: Command, context: CliContext): void {
  const rollout = withRolloutOptions(
    program
      .command('rollout')
      .summary('go to a version, node by node')
      .description('Plan a rollout, show the plan, ask, start it and follow it to its end.')
      .option('--to <version>', 'version to go to, such as 0b1')
      .option('--latest', 'go to the newest version in the repository')
      .option('--stable', 'go to the newest stable version in the repository'),
  );
  rollout
    .addHelpText('after', rolloutExamples)
    .action((options: RolloutOptions) =>
      runRollout(context, options, requestOf(options, targetOf(options), false)),
    );
  const downgrade = withRolloutOptions(
    program
      .command('downgrade')
      .summary('go to an older version, node by node')
      .description('The same as rollout, towards an older version.')
      .requiredOption('--to <version>', 'older version to go to, such as 0a1'),
  );
  downgrade
    .addHelpText('after', '\nExample:\n  plexictl downgrade --to 0a1 --dry-run')
    .action((options: RolloutOptions) =>
      runRollout(context, options, requestOf(options, targetOf(options), true)),
    );
}

function withRolloutOptions(command: Command): Command {
  return withConnection(
    command
      .option('--dry-run', 'show the plan and change nothing')
      .option('-y, --yes', 'do not ask')
      .option(
        '--max-concurrent <n>',
        'nodes out of service at a time',
        wholeNumber('--max-concurrent', 1, limits.nodes),
      )
      .option('--canary <n>', 'so many nodes go first and alone', wholeNumber('--canary', 1, limits.nodes))
      .option('--canary-selector <key=value>', 'nodes with this label go first and alone')
      .option('--node <names...>', 'only these nodes')
      .option('--selector <key=value...>', 'only nodes with all of these labels')
      .option('--exclude <names...>', 'not these nodes')
      .option('--force', 'go on in spite of warnings')
      .option('--no-wait', 'start, print the id, and do not follow')
      .option('--reason <text>', 'why, for the record'),
  );
}

const rolloutExamples = `
Examples:
  plexictl rollout --to 0b1 --dry-run
  plexictl rollout --to 0b1 --max-concurrent 2 --canary 1
  plexictl rollout --to 0b1 --yes -o json

Exit codes: 0 done or nothing to do; 1 failed and taken back; 2 usage or configuration;
3 refused before any node was touched; 4 an operator is needed; 5 stopped midway;
6 no controller; 130 detached with Ctrl-C, the rollout goes on.`;

function targetOf(options: RolloutOptions): string {
  const targets = [options.to, options.latest && 'latest', options.stable && 'stable'].filter(
    (to) => typeof to === 'string',
  );
  const [target] = targets;
  if (target === undefined || target === '' || targets.length > 1) {
    throw new PlexiError('USAGE', 'say where to go with one of --to VERSION, --latest or --stable');
  }
  if (target.length > limits.versionChars) {
    throw new PlexiError('VERSION_INVALID', `--to: a version has at most ${limits.versionChars} characters`);
  }
  return target;
}

function requestOf(options: RolloutOptions, to: string, downgrade: boolean): RolloutRequest {
  if (options.canary !== undefined && options.canarySelector !== undefined) {
    throw new PlexiError('USAGE', 'give either --canary or --canary-selector, not both');
  }
  return RolloutRequest.fromPartial({
    to,
    downgrade,
    maxConcurrent: options.maxConcurrent ?? 0,
    canary: options.canary ?? 0,
    canarySelector:
      labelTexts(
        '--canary-selector',
        options.canarySelector === undefined ? [] : [options.canarySelector],
      )[0] ?? '',
    nodes: nameList('--node', options.node ?? []),
    selectors: labelTexts('--selector', options.selector ?? []),
    exclude: nameList('--exclude', options.exclude ?? []),
    force: options.force === true,
    reason: checkedReason(options.reason),
  });
}

function runRollout(context: CliContext, options: RolloutOptions, request: RolloutRequest): Promise<void> {
  return withCluster(context, options, async (client) => {
    const plan = await client.plan(request);
    if (isNothingToDo(plan)) return showNothingToDo(context, client, plan, options.dryRun === true);
    if (options.dryRun === true) {
      context.show(planDocument(plan), () => planFor(context.stdoutIsTerminal, context, plan));
      return refuseProblems(plan);
    }
    const mustAsk = plan.requireConfirmation && options.yes !== true;
    showPlan(context, plan, mustAsk);
    refuseProblems(plan);
    if (mustAsk) await confirm(context, client, plan);
    await start(context, client, plan, request, options.wait);
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
  const sentence = plan.nodes.length === 0 ? 'no node is chosen' : `every node runs ${plan.to} already`;
  if (dryRun) return context.show(planDocument(plan), () => sentence);
  if (!isMachineOutput(context.output())) return context.stdout(`${sentence}\n`);
  const { leader } = await client.status('');
  const document = {
    leader: leader === undefined ? null : leaderDocument(leader),
    rollout: null,
    nothingToDo: true,
  };
  context.show(document, () => sentence);
}

function refuseProblems(plan: Plan): void {
  if (plan.problems.length === 0) return;
  const sentence = `the rollout to ${plan.to} has ${count(plan.problems.length, 'problem')}, so nothing was started: ${plan.problems.join('; ')}`;
  throw new PlexiError('PLAN_REFUSED', sentence, { details: { problems: plan.problems } });
}

async function confirm(context: CliContext, client: ClusterClient, plan: Plan): Promise<void> {
  const cluster = client.identity.cluster;
  if (!context.stdinIsTerminal) {
    throw new PlexiError(
      'NOT_CONFIRMED',
      `cluster ${cluster} wants a confirmation and there is no terminal to ask on; look at the plan and add --yes`,
    );
  }
  const answer = await context.ask(`\nRoll out ${plan.to} in cluster ${cluster}. Go on? [y/N] `);
  if (answer !== undefined && /^\s*y(es)?\s*$/i.test(answer)) return;
  throw new PlexiError('NOT_CONFIRMED', 'not confirmed, nothing was started');
}

async function start(
  context: CliContext,
  client: ClusterClient,
  plan: Plan,
  request: RolloutRequest,
  wait: boolean,
): Promise<void> {
  const started = await client.start(request, plan.digest, nanoid());
  if (started.nothingToDo) return showNothingToDo(context, client, plan, false);
  if (!wait) return context.show({ rollout: started.id }, () => started.id);
  await followRollout(context, client, started.id);
}
