/**
 * The key that was probably meant, for one that is not known. Invariant: a suggestion is a key that
 * the schema has: one beside it that is spelled alike, or the same name in another group.
 */
import { similarWords } from './did-you-mean.js';
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
  const beside = here.map((key) => key.path.at(-1) ?? '');
  const [near] = similarWords(
    written,
    beside.filter((name) => name !== anyName && name !== anyEntry),
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
