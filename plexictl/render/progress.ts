/**
 * The live view as lines of text: one row a node, and a total. Pure: the same status, clock and size
 * of the terminal give the same lines. Invariant: no line takes more cells than the terminal is wide,
 * and there are fewer lines than it is high; otherwise redrawing in place would leave rubbish behind.
 */
import type { ClusterStatus, Rollout, RolloutNode } from '../../gen/plexi/v1/rollouts.js';
import { formatDuration, formatElapsed } from '../duration.js';
import { cellsOf, fit, fitRight, printable, truncate } from './cells.js';
import { estimateLeftMs } from './estimate.js';
import { type Palette, palette } from './palette.js';
import { isFinal, isNoteworthy, isSettled, type Mood, moodOf, progressOf } from './phases.js';

/** The room there is, the time it is, and whether colours may be used. */
export interface View {
  readonly widthCells: number;
  readonly heightLines: number;
  readonly nowMs: number;
  readonly colours: boolean;
}

const errorLinesMax = 3;
const phaseCells = 20;
const timeCells = 8;

/** The lines of the live view, without newlines. */
export function progressLines(status: ClusterStatus, view: View): string[] {
  const { rollout } = status;
  const paint = palette(view.colours);
  if (rollout === undefined) return [truncate('no rollout yet', view.widthCells)];
  const heading = paint.strong(truncate(headingText(status, rollout), view.widthCells));
  const totals = totalLines(rollout, view, paint);
  const errors = errorLines(rollout, view, paint);
  const rowsMax = Math.max(1, view.heightLines - 1 - 2 - totals.length - errors.length);
  return [heading, ...nodeLines(rollout.nodes, view, paint, rowsMax), ...totals, ...errors];
}

function headingText(status: ClusterStatus, rollout: Rollout): string {
  const leader = status.leader === undefined ? 'no leader' : `leader ${status.leader.id}`;
  return printable(`${rollout.from} → ${rollout.to}  ${rollout.id}  ${leader}`);
}

/** All nodes when there is room; else those where something happens, and how many there are of the others. */
function nodeLines(nodes: readonly RolloutNode[], view: View, paint: Palette, rowsMax: number): string[] {
  const all = nodes.length <= rowsMax;
  const shown = all ? nodes : nodes.filter(isNoteworthy).slice(0, Math.max(0, rowsMax - 1));
  const widths = columnWidths(nodes, view.widthCells);
  const rows = shown.map((node) => nodeLine(node, widths, view.nowMs, paint));
  const hidden = all ? [] : nodes.filter((node) => !shown.includes(node));
  const counts = hidden.length === 0 ? [] : [paint.faint(truncate(hiddenText(hidden), view.widthCells))];
  return [paint.faint(headingLine(widths)), ...rows, ...counts];
}

interface Widths {
  readonly name: number;
  readonly phase: number;
  readonly bar: number;
  readonly inPhase: number;
  readonly out: number;
  readonly note: number;
}

/** Columns go from the right when the terminal is too narrow for them; a width of 0 is no column. */
function columnWidths(nodes: readonly RolloutNode[], width: number): Widths {
  const longest = nodes.reduce((most, node) => Math.max(most, cellsOf(printable(node.id))), 4);
  const name = Math.min(longest, width < 100 ? 16 : 40, width);
  let left = width - name;
  const take = (cells: number): number => {
    if (left < cells + 1) {
      left = 0;
      return 0;
    }
    left -= cells + 1;
    return cells;
  };
  const phase = take(phaseCells);
  const inPhase = take(timeCells);
  const out = take(timeCells);
  const bar = take(width < 100 ? 12 : 20);
  return { name, phase, bar, inPhase, out, note: take(Math.max(8, left - 1)) };
}

function headingLine(widths: Widths): string {
  return joinCells([
    fit('NODE', widths.name),
    fit('PHASE', widths.phase),
    fit('PROGRESS', widths.bar),
    fitRight('IN PHASE', widths.inPhase),
    fitRight('OUT FOR', widths.out),
    truncate('NOTE', widths.note),
  ]);
}

function nodeLine(node: RolloutNode, widths: Widths, nowMs: number, paint: Palette): string {
  const mood = moodOf(node);
  const colour = { good: paint.good, bad: paint.bad, busy: paint.busy, waiting: paint.faint }[mood];
  return joinCells([
    fit(printable(node.id), widths.name),
    colour(fit(printable(node.phase), widths.phase)),
    colour(bar(progressOf(node.phase), widths.bar)),
    fitRight(inPhaseText(node, mood, nowMs), widths.inPhase),
    fitRight(outText(node, nowMs), widths.out),
    (mood === 'bad' ? paint.bad : paint.faint)(truncate(printable(noteOf(node)), widths.note)),
  ]);
}

function joinCells(cells: readonly string[]): string {
  return cells
    .filter((cell) => cell !== '')
    .join(' ')
    .trimEnd();
}

function bar(progress: number | 'back', width: number): string {
  if (progress === 'back') return '◂'.repeat(width);
  const filled = Math.round(progress * width);
  return '█'.repeat(filled) + '░'.repeat(width - filled);
}

function inPhaseText(node: RolloutNode, mood: Mood, nowMs: number): string {
  const still = mood === 'waiting' || mood === 'good' || isSettled(node);
  return still || node.since === undefined ? '' : formatElapsed(nowMs - node.since.getTime());
}

function outText(node: RolloutNode, nowMs: number): string {
  if (node.outSince === undefined) return '';
  return formatElapsed((node.backAt?.getTime() ?? nowMs) - node.outSince.getTime());
}

/** What an operator has to know of a node, in one sentence; empty when all is well. */
export function noteOf(node: RolloutNode): string {
  const unknown = node.unknown ? 'cannot be reached' : '';
  return node.error?.message || unknown || node.waitingOn[0]?.reason || '';
}

function hiddenText(hidden: readonly RolloutNode[]): string {
  const byPhase = new Map<string, number>();
  for (const node of hidden) byPhase.set(node.phase, (byPhase.get(node.phase) ?? 0) + 1);
  return printable(`and ${[...byPhase].map(([phase, count]) => `${count} ${phase}`).join(', ')}`);
}

/** The total, and the reason in a line of its own when it does not fit beside the phase. */
function totalLines(rollout: Rollout, view: View, paint: Palette): string[] {
  const settled = rollout.nodes.filter(isSettled).length;
  const elapsedMs =
    (rollout.finishedAt?.getTime() ?? view.nowMs) - (rollout.startedAt?.getTime() ?? view.nowMs);
  const leftMs = estimateLeftMs(rollout, view.nowMs);
  const left = leftMs === undefined ? '' : `, about ${formatDuration(roundUpToSecond(leftMs))} left`;
  const reason = rollout.reason === '' ? '' : `: ${rollout.reason}`;
  const share = rollout.nodes.length === 0 ? 0 : settled / rollout.nodes.length;
  const text = `${settled} of ${rollout.nodes.length} nodes, ${formatElapsed(elapsedMs)}${left}`;
  const barCells = view.widthCells < 60 ? 0 : 12;
  const phaseRoom = view.widthCells - cellsOf(text) - (barCells === 0 ? 2 : barCells + 4);
  const colour = rollout.phase === 'succeeded' ? paint.good : isFinal(rollout) ? paint.bad : paint.strong;
  const isWhole = cellsOf(printable(rollout.phase + reason)) <= phaseRoom;
  const phase = printable(isWhole ? rollout.phase + reason : rollout.phase);
  const total =
    phaseRoom < 8
      ? truncate(`${rollout.phase}  ${text}`, view.widthCells)
      : [colour(truncate(phase, phaseRoom)), bar(share, barCells), text]
          .filter((part) => part !== '')
          .join('  ');
  if (isWhole || reason === '') return [total];
  return [total, colour(truncate(`  ${printable(rollout.reason)}`, view.widthCells))];
}

function roundUpToSecond(ms: number): number {
  return Math.ceil(ms / 1_000) * 1_000;
}

/** The notes' column is short; the first few errors are said once more with the whole width. */
function errorLines(rollout: Rollout, view: View, paint: Palette): string[] {
  const failed = rollout.nodes.filter((node) => node.error !== undefined);
  const room = Math.max(0, Math.min(errorLinesMax, view.heightLines - 6));
  return failed
    .slice(0, room)
    .map((node) =>
      paint.bad(truncate(printable(`! ${node.id}: ${node.error?.message ?? ''}`), view.widthCells)),
    );
}
