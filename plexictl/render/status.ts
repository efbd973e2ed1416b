/**
 * `plexictl status` for people: who leads, how the rollout stands, and each node with whatever keeps
 * it from going on. The last column holds whole sentences, so that nobody has to ask twice.
 */
import type { ClusterStatus, Freeze, Leader, Rollout, RolloutNode } from '../../gen/plexi/v1/rollouts.js';
import { formatElapsed } from '../duration.js';
import { printable, wrapped } from './cells.js';
import { noteOf } from './progress.js';
import { pageCells, table } from './table.js';

/** The status as text. `wide` adds step, try and since when. */
export function statusText(status: ClusterStatus, nowMs: number, wide: boolean): string {
  const facts = [`Leader   ${leaderText(status.leader)}`, ...freezeFacts(status.freeze)];
  if (status.rollout === undefined) return `${factLines([...facts, 'Rollout  none yet'], wide)}\n`;
  const { rollout } = status;
  facts.push(`Rollout  ${rollout.id}`, `Change   ${rollout.from} → ${rollout.to}${startedText(rollout)}`);
  facts.push(`Phase    ${rollout.phase}${rollout.reason === '' ? '' : `: ${rollout.reason}`}`);
  facts.push(`Nodes    ${countsText(rollout.counts)}`);
  const nodes = rollout.nodes.length === 0 ? '' : `\n${nodesTable(rollout.nodes, nowMs, wide)}`;
  return `${factLines(facts, wide)}\n${nodes}`;
}

/** A reason may be long, and it is what one looks for; so it goes on in the next line, below its start. */
function factLines(facts: readonly string[], wide: boolean): string {
  const lines = facts.map(printable);
  return (wide ? lines : lines.flatMap((line) => wrapped(line, pageCells, 9))).join('\n');
}

function leaderText(leader: Leader | undefined): string {
  return leader === undefined ? 'none now' : `${leader.id} (term ${leader.term}, epoch ${leader.epoch})`;
}

function freezeFacts(freeze: Freeze | undefined): string[] {
  if (freeze === undefined) return [];
  const since = freeze.since === undefined ? '' : ` since ${minuteOf(freeze.since)}`;
  const by = freeze.by === '' ? '' : ` by ${freeze.by}`;
  return [`Freeze   on${since}${by}${freeze.reason === '' ? '' : `: ${freeze.reason}`}`];
}

function startedText(rollout: Rollout): string {
  if (rollout.startedAt === undefined) return '';
  const by = rollout.startedBy === '' ? '' : ` by ${rollout.startedBy}`;
  const lasted =
    rollout.finishedAt && formatElapsed(rollout.finishedAt.getTime() - rollout.startedAt.getTime());
  return `, started ${minuteOf(rollout.startedAt)}${by}${lasted === undefined ? '' : `, took ${lasted}`}`;
}

/** How many nodes are in each phase, most first: `3 done, 1 probing`. */
export function countsText(counts: Readonly<Record<string, number>>): string {
  const present = Object.entries(counts).filter(([, amount]) => amount > 0);
  present.sort(([, one], [, other]) => other - one);
  return present.length === 0 ? 'none' : present.map(([phase, amount]) => `${amount} ${phase}`).join(', ');
}

function nodesTable(nodes: readonly RolloutNode[], nowMs: number, wide: boolean): string {
  const rows = nodes.map((node) => [
    node.id,
    node.unknown ? `${node.phase} (unknown)` : node.phase,
    node.version,
    wide ? node.step : '',
    wide && node.attempt > 0 ? String(node.attempt) : '',
    wide && node.since !== undefined ? secondOf(node.since) : '',
    outText(node, nowMs),
    statusNote(node),
  ]);
  const columns = [
    { heading: 'NODE' },
    { heading: 'PHASE' },
    { heading: 'VERSION' },
    { heading: 'STEP' },
    { heading: 'TRY', align: 'right' },
    { heading: 'SINCE' },
    { heading: 'OUT FOR', align: 'right' },
    { heading: 'NOTE' },
  ] as const;
  if (wide) return table(columns, rows);
  const text = table(columns, rows, { widthCells: pageCells });
  return text.includes('…') ? `${text}\n\`plexictl why NODE\` or -o wide says all of it.\n` : text;
}

function statusNote(node: RolloutNode): string {
  const waiting = node.error === undefined ? node.waitingOn[0] : undefined;
  return waiting === undefined || waiting.unblock === ''
    ? noteOf(node)
    : `${waiting.reason}; ${waiting.unblock}`;
}

function outText(node: RolloutNode, nowMs: number): string {
  if (node.outSince === undefined) return '';
  return formatElapsed((node.backAt?.getTime() ?? nowMs) - node.outSince.getTime());
}

/** A time as `2024-12-19 12:00Z`. */
export function minuteOf(time: Date): string {
  return isTime(time) ? `${time.toISOString().slice(0, 16).replace('T', ' ')}Z` : noTime;
}

function secondOf(time: Date): string {
  return isTime(time) ? `${time.toISOString().slice(0, 19).replace('T', ' ')}Z` : noTime;
}

/** Stands where a controller has sent a time that is none. */
const noTime = '?';

/** Whether it can be printed: a controller may send seconds that no calendar has. */
function isTime(time: Date): boolean {
  return !Number.isNaN(time.getTime());
}
