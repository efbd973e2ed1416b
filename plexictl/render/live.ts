/**
 * Shows progress while a rollout is followed: redrawn in place on a terminal, else as plain lines.
 * Both write to stderr only. The live view is drawn again each half second so that clocks tick, and
 * uses one cell less than the terminal is wide: some terminals erase the last cell of a full line.
 */
import type { ClusterStatus } from '../../gen/plexi/v1/rollouts.js';
import { type CliContext, mayColour } from '../context.js';
import { printable } from './cells.js';
import { changeLines } from './plain-lines.js';
import { progressLines } from './progress.js';

const redrawMs = 500;

/** What a follower tells the operator through. */
export interface ProgressView {
  /** Shows how things stand now. */
  show(status: ClusterStatus): void;
  /** Says one sentence that stays. */
  note(sentence: string): void;
  /** Shows nothing more. The live view stays as it is, or goes when something better follows. */
  close(keepLast: boolean): void;
}

/** The live view when stderr is a terminal and people are meant, else plain lines. */
export async function progressView(context: CliContext): Promise<ProgressView> {
  const forPeople = context.output() === 'text' || context.output() === 'wide';
  const terminal = context.stderrTerminal;
  if (terminal === undefined || !forPeople || context.environment.TERM === 'dumb') return plainView(context);
  return liveView(terminal, mayColour(true, context.environment));
}

function plainView(context: CliContext): ProgressView {
  let before: ClusterStatus | undefined;
  return {
    show: (status) => {
      for (const line of changeLines(before, status, Date.now())) context.stderr(`${line}\n`);
      before = status;
    },
    note: (sentence) => context.stderr(`${printable(sentence)}\n`),
    close: () => {},
  };
}

async function liveView(terminal: NodeJS.WriteStream, colours: boolean): Promise<ProgressView> {
  // Loaded only where it is drawn: most commands draw nothing, and loading it is a seventh of their time.
  const { createLogUpdate } = await import('log-update');
  const update = createLogUpdate(terminal);
  let latest: ClusterStatus | undefined;
  const draw = (): void => {
    if (latest === undefined) return;
    const widthCells = Math.max(10, (terminal.columns || 80) - 1);
    const heightLines = Math.max(6, terminal.rows || 24);
    update(progressLines(latest, { widthCells, heightLines, nowMs: Date.now(), colours }).join('\n'));
  };
  const ticking = setInterval(draw, redrawMs);
  terminal.on('resize', draw);
  return {
    show: (status) => {
      latest = status;
      draw();
    },
    note: (sentence) => {
      update.clear();
      terminal.write(`${printable(sentence)}\n`);
      draw();
    },
    close: (keepLast) => {
      clearInterval(ticking);
      terminal.off('resize', draw);
      if (keepLast) draw();
      else update.clear();
      update.done();
    },
  };
}
