/**
 * Sentences that say the same of several nodes, as one sentence with the nodes' names: a cluster of
 * five hundred nodes with one thing wrong has one problem, not five hundred.
 */

/** So many names stand in one sentence; the rest is counted. */
const namesMax = 10;

/**
 * The sentences in their order, those that differ only in one node's name put together. A name counts
 * where it stands as a word of its own.
 */
export function groupByNode(sentences: readonly string[], nodes: readonly string[]): string[] {
  const known = new Set(nodes);
  const groups = new Map<string, { readonly pattern: string; readonly names: string[] }>();
  for (const sentence of sentences) {
    const name = wordsOf(sentence).find((word) => known.has(word));
    const pattern = name === undefined ? sentence : onlyFirst(sentence, name);
    const key = name === undefined ? `0 ${sentence}` : `1 ${pattern}`;
    const group = groups.get(key) ?? { pattern, names: [] };
    groups.set(key, group);
    if (name !== undefined && !group.names.includes(name)) group.names.push(name);
  }
  return [...groups.values()].map(({ pattern, names }) => pattern.replace(place, () => nameList(names)));
}

/** Names with commas between them; many are cut and counted. */
export function nameList(names: readonly string[]): string {
  const shown = names.slice(0, namesMax).join(', ');
  return names.length > namesMax ? `${shown} and ${names.length - namesMax} more` : shown;
}

/** Stands for the name in a sentence; no sentence of ours holds it. */
const place = '\u0000';

function wordsOf(sentence: string): string[] {
  return sentence.split(/[^A-Za-z0-9-]+/);
}

function onlyFirst(sentence: string, name: string): string {
  return sentence.replace(new RegExp(`(?<![A-Za-z0-9-])${name}(?![A-Za-z0-9-])`), place);
}
