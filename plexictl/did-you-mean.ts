/**
 * What somebody probably meant who mistyped a word: the known word that takes the fewest changed,
 * added, lost or swapped letters, when it takes few enough for its length.
 */

/** The likely words, best first; none when nothing is near. */
export function similarWords(word: string, known: readonly string[]): string[] {
  const near = known
    .map((candidate) => ({ candidate, steps: stepsBetween(word, candidate) }))
    .filter(({ candidate, steps }) => steps <= Math.max(1, Math.floor(candidate.length * 0.4)))
    .sort((one, other) => one.steps - other.steps);
  return near.filter(({ steps }) => steps === near[0]?.steps).map(({ candidate }) => candidate);
}

/** ` (Did you mean x?)`, or nothing. */
export function didYouMean(word: string, known: readonly string[]): string {
  const similar = similarWords(word, known);
  return similar.length === 0 ? '' : ` (Did you mean ${similar.join(' or ')}?)`;
}

/** The least number of single steps from one word to the other. */
function stepsBetween(one: string, other: string): number {
  const rows: number[][] = [Array.from({ length: other.length + 1 }, (_, column) => column)];
  for (let row = 1; row <= one.length; row += 1) {
    const above = rows[row - 1] ?? [];
    const cells = [row];
    for (let column = 1; column <= other.length; column += 1) {
      const same = one[row - 1] === other[column - 1] ? 0 : 1;
      const swapped = one[row - 1] === other[column - 2] && one[row - 2] === other[column - 1];
      const bySwap = swapped
        ? (rows[row - 2]?.[column - 2] ?? Number.POSITIVE_INFINITY) + 1
        : Number.POSITIVE_INFINITY;
      const byChange = (above[column - 1] ?? 0) + same;
      cells.push(Math.min((above[column] ?? 0) + 1, (cells[column - 1] ?? 0) + 1, byChange, bySwap));
    }
    rows.push(cells);
  }
  return rows[one.length]?.[other.length] ?? 0;
}
