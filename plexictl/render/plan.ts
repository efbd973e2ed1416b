/**
 * A plan for people: which node goes when, from what to what, what is done on each, what cannot be
 * taken back, and everything that stands in the way, all before anything is touched.
 */
import type { Plan, PlanNode } from '../../gen/plexi/v1/rollouts.js';
import { formatDuration } from '../duration.js';
import { printable, wrapped } from './cells.js';
import { groupByNode } from './group.js';
import type { Palette } from './palette.js';
import { table } from './table.js';

/** Whether every node of the plan is at its target already. */
export function isNothingToDo(plan: Plan): boolean {
  return plan.problems.length === 0 && plan.nodes.every((node) => node.strategy === 'none');
}

/** The plan as text. */
export function planText(plan: Plan, paint: Palette): string {
  const changing = plan.nodes.filter((node) => node.strategy !== 'none');
  const cluster = plan.cluster === '' ? '' : ` in cluster ${plan.cluster}`;
  const heading = `${headingOf(plan, changing)}${cluster}: ${workOf(plan, changing.length)}`;
  const nodeIds = plan.nodes.map(({ id }) => id);
  const parts = [
    paint.strong(printable(heading)),
    plan.nodes.length === 0 ? '' : nodesTable(plan.nodes),
    factLines(plan),
    list('Warnings', groupByNode(plan.warnings, nodeIds), paint.warning),
    list('Problems', groupByNode(plan.problems, nodeIds), paint.bad),
  ];
  return `${parts
    .filter((part) => part !== '')
    .map((part) => part.trimEnd())
    .join('\n\n')}\n`;
}

/** What is done, in a few words: a change of version, or the same version again. */
function headingOf(plan: Plan, changing: readonly PlanNode[]): string {
  const strategies = new Set(changing.map((node) => node.strategy));
  if (plan.stageOnly) return `Staging of ${plan.to}`;
  if (strategies.size === 1 && strategies.has('restart')) return `Restart of ${plan.to}`;
  if (strategies.size === 1 && strategies.has('reinstall')) return `Reinstallation of ${plan.to}`;
  return `Rollout ${plan.from} → ${plan.to}`;
}

function workOf(plan: Plan, changing: number): string {
  if (plan.stageOnly) return `${count(changing, 'node')} to bring it to, none is touched`;
  return `${count(changing, 'node')} to change, ${plan.maxConcurrent} out of service at a time`;
}

function nodesTable(nodes: readonly PlanNode[]): string {
  const rows = nodes.map((node, at) => [
    String(at + 1),
    node.id,
    node.from,
    node.to,
    node.strategy,
    String(node.wave),
    node.estimateMs === 0n ? '' : formatDuration(Number(node.estimateMs)),
    node.orderReason,
    node.migrations.join(', '),
  ]);
  const columns = [
    { heading: '#', align: 'right' },
    { heading: 'NODE' },
    { heading: 'FROM' },
    { heading: 'TO' },
    { heading: 'STRATEGY' },
    { heading: 'WAVE', align: 'right' },
    { heading: 'OUT FOR', align: 'right' },
    { heading: 'BECAUSE' },
    { heading: 'MIGRATIONS' },
  ] as const;
  return table(columns, rows, { indent: '  ' });
}

function factLines(plan: Plan): string {
  const steps =
    plan.steps.length === 0 ? [] : wrapped(printable(`Each node: ${plan.steps.join(', ')}`), 78, 2);
  if (plan.stageOnly)
    return 'Stage only: it ends once the release lies on every node, beside what runs there.';
  const noReturn = plan.pointOfNoReturn === '' ? 'none, code and data can go back' : plan.pointOfNoReturn;
  const estimate =
    plan.estimateMs === 0n ? [] : [`Estimate: about ${formatDuration(Number(plan.estimateMs))}`];
  return [...steps, ...[`Point of no return: ${noReturn}`, ...estimate].map(printable)].join('\n');
}

function list(title: string, sentences: readonly string[], colour: (text: string) => string): string {
  if (sentences.length === 0) return '';
  return [colour(`${title}:`), ...sentences.map((sentence) => `  - ${printable(sentence)}`)].join('\n');
}

/** `1 node`, `3 nodes`. */
export function count(amount: number, noun: string): string {
  return `${amount} ${noun}${amount === 1 ? '' : 's'}`;
}
