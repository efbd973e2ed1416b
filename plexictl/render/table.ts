/**
 * A table as text: a heading in capitals, columns two spaces apart and as wide as their widest cell.
 * The last column is never padded and never cut, because that is where sentences stand.
 */
import { cellsOf, fit, fitRight, printable } from './cells.js';

/** One column: its heading, and `right` for figures. */
export interface Column {
  readonly heading: string;
  readonly align?: 'left' | 'right';
}

/** The table's lines, each ended by a newline; cells are made printable here. Columns with no cell filled are left out. */
export function table(columns: readonly Column[], rows: readonly (readonly string[])[], indent = ''): string {
  const cells = rows.map((row) => columns.map((_, at) => printable(row[at] ?? '')));
  const kept = columns
    .map((column, at) => ({ column, at }))
    .filter(({ at }) => cells.some((row) => row[at] !== ''));
  const widths = new Map(
    kept.map(({ column, at }) => [
      at,
      cells.reduce((widest, row) => Math.max(widest, cellsOf(row[at] ?? '')), cellsOf(column.heading)),
    ]),
  );
  const line = (textAt: (at: number) => string): string => {
    const parts = kept.map(({ column, at }) => {
      const place = column.align === 'right' ? fitRight : fit;
      return place(textAt(at), widths.get(at) ?? 0);
    });
    return `${indent}${parts.join('  ')}`.trimEnd();
  };
  const heading = line((at) => columns[at]?.heading ?? '');
  return `${[heading, ...cells.map((row) => line((at) => row[at] ?? ''))].join('\n')}\n`;
}
