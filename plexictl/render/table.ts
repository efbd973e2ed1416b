/**
 * A table as text: a heading in capitals, columns two spaces apart and as wide as their widest cell.
 * The last column is never padded, because that is where sentences stand. A table that has to fit cuts
 * there first, and marks each cut with `…`.
 */
import { cellsOf, fit, fitRight, printable, truncate } from './cells.js';

/** The width that people's tables keep to; with `-o wide` they do not. */
export const pageCells = 80;

/** The last column is not made narrower than this while another one can be. */
const lastCellsMin = 12;

/** One column: its heading, and `right` for figures. */
export interface Column {
  readonly heading: string;
  readonly align?: 'left' | 'right';
}

/** How a table stands on the page. */
export interface Placement {
  readonly indent?: string;
  /** Cells that a line may take; without it lines are as long as they are. */
  readonly widthCells?: number;
}

/** The table's lines, each ended by a newline; cells are made printable here. Columns with no cell filled are left out. */
export function table(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  { indent = '', widthCells = Number.POSITIVE_INFINITY }: Placement = {},
): string {
  const cells = rows.map((row) => columns.map((_, at) => printable(row[at] ?? '')));
  const kept = columns
    .map((column, at) => ({ column, at }))
    .filter(({ at }) => cells.some((row) => row[at] !== ''));
  const natural = new Map(
    kept.map(({ column, at }) => [
      at,
      cells.reduce((widest, row) => Math.max(widest, cellsOf(row[at] ?? '')), cellsOf(column.heading)),
    ]),
  );
  const widths = fitted(natural, widthCells - cellsOf(indent));
  const line = (textAt: (at: number) => string): string => {
    const parts = kept.map(({ column, at }) => {
      const place = column.align === 'right' ? fitRight : fit;
      return place(textAt(at), widths.get(at) ?? 0);
    });
    return truncate(`${indent}${parts.join('  ')}`.trimEnd(), widthCells);
  };
  const heading = line((at) => columns[at]?.heading ?? '');
  return `${[heading, ...cells.map((row) => line((at) => row[at] ?? ''))].join('\n')}\n`;
}

/** Widths that fit together: the last column gives way first, then whichever is widest. */
function fitted(natural: ReadonlyMap<number, number>, widthCells: number): Map<number, number> {
  const widths = new Map(natural);
  const last = [...widths.keys()].at(-1);
  const gaps = 2 * Math.max(0, widths.size - 1);
  const over = (): number => gaps + [...widths.values()].reduce((sum, width) => sum + width, 0) - widthCells;
  const narrow = (column: number, least: number): void => {
    const width = widths.get(column) ?? 0;
    widths.set(column, Math.max(Math.min(width, least), width - Math.max(0, over())));
  };
  if (last !== undefined) narrow(last, lastCellsMin);
  const byWidth = [...widths].sort(([, one], [, other]) => other - one);
  for (const [column] of byWidth) if (over() > 0) narrow(column, 4);
  return widths;
}
