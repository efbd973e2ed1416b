/**
 * The key that was probably meant, for one that is not known. Invariant: a suggestion is a key that
 * the schema has; when none is near, nothing is suggested, since a wrong one costs more than none.
 */
import { limits } from './limits.js';
import { anyEntry, anyName, type SchemaKey } from './schema/keys.js';

/**
 * The text of the key that was meant by the last part of `path`: one of the same group that is
 * spelled alike, else the key of this name in another group. Undefined when there is none.
 */
export function keyMeant(keys: readonly SchemaKey[], path: readonly PropertyKey[]): string | undefined {
  const written = String(path.at(-1) ?? '')
    .replaceAll('-', '_')
    .toLowerCase();
  if (written.length > limits.nameChars) return undefined;
  const here = keys.filter((key) => isBeside(key.path, path));
  const near = nearest(
    written,
    here.map((key) => key.path.at(-1) ?? ''),
  );
  if (near !== undefined) return near;
  const elsewhere = keys.filter((key) => key.path.at(-1) === written);
  return elsewhere.length === 1 ? elsewhere[0]?.text : undefined;
}

/** Whether a key of the schema stands in the group that the path's last part stands in. */
function isBeside(known: readonly string[], path: readonly PropertyKey[]): boolean {
  return (
    known.length === path.length &&
    known
      .slice(0, -1)
      .every((part, at) =>
        part === anyEntry ? typeof path[at] === 'number' : part === anyName || part === path[at],
      )
  );
}

/** The word with the fewest mistakes between them; at most one mistake for each three letters. */
function nearest(written: string, words: readonly string[]): string | undefined {
  const ranked = words
    .filter((word) => word !== anyName && word !== anyEntry)
    .map((word) => ({ word, mistakes: mistakesBetween(written, word) }))
    .filter(({ word, mistakes }) => mistakes <= Math.max(1, Math.floor(word.length / 3)))
    .sort((a, b) => a.mistakes - b.mistakes);
  return ranked[0]?.word;
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
