/**
 * What an operator asks for, from the words of `rollout` and `downgrade` to the request that is sent.
 * Everything that contradicts itself is refused here, with the words that contradict one another.
 */
import { PlexiError } from '../../config/errors.js';
import { RolloutRequest } from '../../gen/plexi/v1/rollouts.js';
import { checkedReason, checkedVersion, labelTexts, nameList } from './option-values.js';

/** The options that say what a rollout does, and to which nodes. */
export interface RequestOptions {
  readonly to?: string;
  readonly latest?: boolean;
  readonly stable?: boolean;
  readonly restart?: boolean;
  readonly stageOnly?: boolean;
  readonly skipTests?: boolean;
  readonly maxConcurrent?: number;
  readonly canary?: number;
  readonly canarySelector?: string;
  readonly node?: string[];
  readonly selector?: string[];
  readonly exclude?: string[];
  readonly force?: boolean;
  readonly reason?: string;
}

/** The request to the version that the options name. Errors: as `requestFor`, USAGE for no version. */
export function requestOf(options: RequestOptions, downgrade: boolean): RolloutRequest {
  return requestFor(targetOf(options), options, downgrade);
}

/** The request to `to`. Errors: USAGE for options that exclude one another, VERSION_INVALID. */
export function requestFor(to: string, options: RequestOptions, downgrade: boolean): RolloutRequest {
  onlyOneOf('--stage-only', options.stageOnly, '--restart', options.restart, 'staging restarts nothing');
  onlyOneOf('--stage-only', options.stageOnly, '--skip-tests', options.skipTests, 'staging runs no tests');
  onlyOneOf(
    '--canary',
    options.canary,
    '--canary-selector',
    options.canarySelector,
    'both say who goes first',
  );
  const nodes = nameList('--node', options.node ?? []);
  const exclude = nameList('--exclude', options.exclude ?? []);
  const both = nodes.find((name) => exclude.includes(name));
  if (both !== undefined)
    throw new PlexiError('USAGE', `${both} stands both under --node and under --exclude; take it out of one`);
  const canarySelector = options.canarySelector === undefined ? [] : [options.canarySelector];
  return RolloutRequest.fromPartial({
    to,
    downgrade,
    maxConcurrent: options.maxConcurrent ?? 0,
    canary: options.canary ?? 0,
    canarySelector: labelTexts('--canary-selector', canarySelector)[0] ?? '',
    nodes,
    selectors: labelTexts('--selector', options.selector ?? []),
    exclude,
    force: options.force === true,
    restart: options.restart === true,
    stageOnly: options.stageOnly === true,
    skipTests: options.skipTests === true,
    reason: checkedReason(options.reason),
  });
}

/** The version to go to, or the word that stands for it. */
function targetOf(options: RequestOptions): string {
  const given = [
    options.to === undefined ? '' : '--to',
    options.latest === true ? '--latest' : '',
    options.stable === true ? '--stable' : '',
  ].filter((option) => option !== '');
  if (given.length > 1) throw new PlexiError('USAGE', `give only one of ${given.join(' and ')}`);
  if (options.to !== undefined) return checkedVersion('--to', options.to);
  if (options.latest === true) return 'latest';
  if (options.stable === true) return 'stable';
  throw new PlexiError('USAGE', 'say where to go with one of --to VERSION, --latest or --stable');
}

function onlyOneOf(one: string, oneValue: unknown, other: string, otherValue: unknown, why: string): void {
  if (oneValue === undefined || otherValue === undefined) return;
  throw new PlexiError('USAGE', `give only one of ${one} and ${other}: ${why}`);
}
