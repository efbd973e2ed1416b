/**
 * Text measured in terminal cells. Everything that came over the network (names, reasons, errors)
 * passes `printable` before it reaches a terminal, so that no text of a node or an operator can move
 * the cursor or hide a line; and `fit` keeps each row within the width, whatever it says.
 */

const unprintable = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu;
const zeroCells = /^\p{M}$/u;
const twoCells =
  /^[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]$/u;

/** The text on one line, without control and formatting characters. */
export function printable(text: string): string {
  return printableLine(text).trim();
}

/** The same for a line whose indentation says something, such as one of a log. */
export function printableLine(text: string): string {
  return text.replaceAll('\t', '  ').replace(unprintable, ' ').trimEnd();
}

/** How many cells of a terminal a printable text takes. */
export function cellsOf(text: string): number {
  let cells = 0;
  for (const character of text) cells += cellsOfCharacter(character);
  return cells;
}

/** Exactly `width` cells: padded with spaces, or cut and ended with `…`. */
export function fit(text: string, width: number): string {
  const cut = truncate(text, width);
  return cut + ' '.repeat(Math.max(0, width - cellsOf(cut)));
}

/** At most `width` cells: as it is, or cut and ended with `…`. */
export function truncate(text: string, width: number): string {
  if (width <= 0) return '';
  if (cellsOf(text) <= width) return text;
  let kept = '';
  let cells = 0;
  for (const character of text) {
    cells += cellsOfCharacter(character);
    if (cells > width - 1) break;
    kept += character;
  }
  return `${kept}…`;
}

/** Like `fit`, with the spaces in front: for figures. */
export function fitRight(text: string, width: number): string {
  const cut = truncate(text, width);
  return ' '.repeat(Math.max(0, width - cellsOf(cut))) + cut;
}

/**
 * Lines of at most `width` cells, cut between words; those after the first begin with so many spaces.
 * A word that is longer than a line is cut in two.
 */
export function wrapped(text: string, width: number, indentCells: number): string[] {
  const indent = ' '.repeat(indentCells);
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    const longer = line === '' || line === indent ? line + word : `${line} ${word}`;
    if (cellsOf(longer) > width && line.trim() !== '') {
      lines.push(line);
      line = indent + word;
    } else line = longer;
    while (cellsOf(line) > width) {
      // One cell more, because the last character is the mark of the cut, or what is cut off.
      const part = truncate(line, width + 1).slice(0, -1);
      lines.push(part);
      line = indent + line.slice(part.length);
    }
  }
  return [...lines, line];
}

function cellsOfCharacter(character: string): number {
  if (zeroCells.test(character)) return 0;
  return twoCells.test(character) ? 2 : 1;
}
