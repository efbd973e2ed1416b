/**
 * What somebody probably meant who mistyped a word, be it a key of a file or a word of a command line.
 * Invariant: a suggestion is a word that is known; when none is near, nothing is suggested, since a
 * wrong one costs more than none.
 */

/** The likely words, all of them equally near; none when no word is near: one mistake for three letters. */
export function similarWords(written: string, known: readonly string[]): string[] {
  const near = known
    .map((word) => ({ word, mistakes: mistakesBetween(written, word) }))
    .filter(({ word, mistakes }) => mistakes <= Math.max(1, Math.floor(word.length / 3)));
  const least = Math.min(...near.map(({ mistakes }) => mistakes));
  return near.filter(({ mistakes }) => mistakes === least).map(({ word }) => word);
}

/** ` (Did you mean x?)`, or nothing. */
export function didYouMean(written: string, known: readonly string[]): string {
  const similar = similarWords(written, known);
  return similar.length === 0 ? '' : ` (Did you mean ${similar.join(' or ')}?)`;
}

/** Letters that were changed, left out, added or exchanged with their neighbour. */
function mistakesBetween(from: string, to: string): number {
  let before: number[] = [];
  let last = Array.from({ length: to.length + 1 }, (_, at) => at);
  for (let row = 1; row <= from.length; row += 1) {
    const next = [row];
    for (let column = 1; column <= to.length; column += 1) {
      const isSame = from[row - 1] === to[column - 1];
      const isExchanged = from[row - 1] === to[column - 2] && from[row - 2] === to[column - 1];
      next.push(
        Math.min(
          cell(last, column) + 1,
          cell(next, column - 1) + 1,
          cell(last, column - 1) + (isSame ? 0 : 1),
          isExchanged ? cell(before, column - 2) + 1 : Number.POSITIVE_INFINITY,
        ),
      );
    }
    before = last;
    last = next;
  }
  return cell(last, to.length);
}

function cell(row: readonly number[], at: number): number {
  return row[at] ?? Number.POSITIVE_INFINITY;
}
