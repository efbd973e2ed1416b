/** Tells one step of the engine in lines: what changed, what was sent, how it ended. */
import type { Effect } from '../../controller/rollout/events.js';
import { isFinal, type RolloutNode } from '../../controller/rollout/rollout.js';
import type { World } from '../../controller/rollout/world.js';
import type { Step } from './model-leader.test.part.js';

/** One line for each thing; nodes to which the same happened share a line. */
export function tellStep({ before, after, effects }: Step, seconds: number): string[] {
  const lines = [
    ...rolloutLines(before, after),
    ...sharedLines(nodeChanges(before, after)),
    ...slotLines(before, after),
    ...(before.budget.max === after.budget.max ? [] : [`budget: ${before.budget.max} → ${after.budget.max}`]),
    ...sharedLines(effects.map((effect) => [effect.node, effectText(effect)])),
    ...endLines(before, after),
  ];
  return lines.map((line) => `${`${seconds.toFixed(1)}s`.padStart(8)}  ${line}`);
}

function effectText(effect: Effect): string {
  switch (effect.kind) {
    case 'adopt':
      return 'adopt';
    case 'send':
      return `send ${effect.command.kind} #${effect.command.attempt}`;
    case 'look':
      return `look again in ${effect.inMs / 1_000} s`;
  }
}

function rolloutLines(before: World, after: World): string[] {
  const was = before.rollout;
  const is = after.rollout;
  if (
    is === undefined ||
    isFinal(is.phase) ||
    (was?.phase === is.phase && was.course.kind === is.course.kind)
  )
    return [];
  const reason = 'reason' in is.course && is.course.reason !== '' ? `: ${is.course.reason}` : '';
  const exit = is.exitCode === null ? '' : ` (a follower exits with ${is.exitCode})`;
  const course = is.course.kind === 'forward' ? '' : `, ${is.course.kind}`;
  return [`rollout: ${was?.phase ?? 'planned'} → ${is.phase}${course}${reason}${exit}`];
}

function nodeChanges(before: World, after: World): (readonly [string, string])[] {
  return [...(after.rollout?.nodes.values() ?? [])].flatMap((node) => {
    const was = before.rollout?.nodes.get(node.id);
    const told = [...phaseChange(was, node), ...errorChange(was, node), ...unknownChange(was, node)];
    return told.map((text) => [node.id, text] as const);
  });
}

function phaseChange(was: RolloutNode | undefined, node: RolloutNode): string[] {
  const { phase } = node.state;
  if (was?.state.phase === phase || (was === undefined && phase === 'pending')) return [];
  return [was === undefined ? phase : `${was.state.phase} → ${phase}`];
}

function errorChange(was: RolloutNode | undefined, node: RolloutNode): string[] {
  if (node.error === null || node.error.message === was?.error?.message) return [];
  return [`${node.error.code}: ${node.error.message}`];
}

function unknownChange(was: RolloutNode | undefined, node: RolloutNode): string[] {
  if ((was?.silence == null) === (node.silence === null)) return [];
  return [node.silence === null ? 'is in reach again' : 'cannot be reached'];
}

/** `node-1 node-2: done`, in the order of what was told first. */
function sharedLines(told: readonly (readonly string[])[]): string[] {
  const byText = new Map<string, string[]>();
  for (const [node = '', text = ''] of told) byText.set(text, [...(byText.get(text) ?? []), node]);
  return [...byText].map(([text, nodes]) => `${nodes.join(' ')}: ${text}`);
}

function slotLines(before: World, after: World): string[] {
  const names = [...new Set([...before.slots.keys(), ...after.slots.keys()])].sort();
  return names.flatMap((key) => {
    const was = before.slots.get(key);
    const is = after.slots.get(key);
    if (was === is) return [];
    const freed = was !== undefined && was.node !== is?.node ? [`slot ${key}: freed by ${was.node}`] : [];
    const taken = is === undefined ? [] : [`slot ${key}: ${is.node}, ${is.reason}`];
    return [...freed, ...taken];
  });
}

function endLines(before: World, after: World): string[] {
  const { rollout } = after;
  if (rollout === undefined || !isFinal(rollout.phase) || before.rollout?.phase === rollout.phase) return [];
  return [`end: ${rollout.phase}, exit ${rollout.exitCode}: ${rollout.reason}`];
}
