/**
 * A plan for people: which node goes when, from what to what, what is done on each, what cannot be
 * taken back, and everything that stands in the way, all before anything is touched.
 */
import type { Plan, PlanNode } from '../../gen/plexi/v1/rollouts.js';
import { formatDuration } from '../duration.js';
import { printable } from './cells.js';
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
  const heading = `Rollout ${plan.from} → ${plan.to}${cluster}: ${count(changing.length, 'node')} to change, ${plan.maxConcurrent} out of service at a time`;
  const parts = [
    paint.strong(printable(heading)),
    plan.nodes.length === 0 ? '' : nodesTable(plan.nodes),
    factLines(plan),
    list('Warnings', plan.warnings, paint.warning),
    list('Problems', plan.problems, paint.bad),
  ];
  return `${parts
    .filter((part) => part !== '')
    .map((part) => part.trimEnd())
    .join('\n\n')}\n`;
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
  return table(columns, rows, '  ');
}

function factLines(plan: Plan): string {
  const steps = plan.steps.length === 0 ? [] : wrapped(`Each node: ${plan.steps.join(', ')}`);
  const noReturn = plan.pointOfNoReturn === '' ? 'none, code and data can go back' : plan.pointOfNoReturn;
  const estimate =
    plan.estimateMs === 0n ? [] : [`Estimate: about ${formatDuration(Number(plan.estimateMs))}`];
  return [...steps, `Point of no return: ${noReturn}`, ...estimate].map(printable).join('\n');
}

function list(title: string, sentences: readonly string[], colour: (text: string) => string): string {
  if (sentences.length === 0) return '';
  return [colour(`${title}:`), ...sentences.map((sentence) => `  - ${printable(sentence)}`)].join('\n');
}

/** Lines of at most 78 characters; those after the first are set in. */
function wrapped(text: string): string[] {
  const lines = [''];
  for (const word of text.split(' ')) {
    const last = lines.length - 1;
    const longer = lines[last] === '' ? word : `${lines[last]} ${word}`;
    if (longer.length <= 78) lines[last] = longer;
    else lines.push(`  ${word}`);
  }
  return lines;
}

/** `1 node`, `3 nodes`. */
export function count(amount: number, noun: string): string {
  return `${amount} ${noun}${amount === 1 ? '' : 's'}`;
}
