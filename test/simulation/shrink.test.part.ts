/** Makes a history that fails as small as it can be made: fewer nodes, fewer faults, fewer moments. */
import { type Drawn, drawn, faultsOf, type Less, momentFaults } from './drawn.test.part.js';
import { type Played, play } from './simulation.test.part.js';

/** Histories that are tried at the most. */
const triesMax = 120;

/** A history that fails still, and how. */
export interface Shrunk {
  readonly less: Less;
  readonly played: Played;
}

/** Takes away what the failure does not need. The same guarantee must break, in whatever words. */
export async function shrink(seed: number, failed: Played): Promise<Shrunk> {
  let best: Shrunk = { less: {}, played: failed };
  let tries = 0;
  const isSmaller = async (less: Less): Promise<boolean> => {
    if (tries++ >= triesMax) return false;
    const played = await play(drawn(seed, less));
    if (played.broken?.guarantee !== failed.broken?.guarantee) return false;
    best = { less, played };
    return true;
  };
  for (const nodes of [1, 2, 3]) {
    if (nodes < drawn(seed).nodes && (await isSmaller({ ...best.less, nodes }))) break;
  }
  for (const rounds of [1, 2, 3]) {
    if (rounds < drawn(seed).rounds.length && (await isSmaller({ ...best.less, rounds }))) break;
  }
  for (const fault of faultsOf(drawn(seed))) {
    await isSmaller({ ...best.less, without: [...(best.less.without ?? []), fault] });
  }
  for (const number of numbersOf(seed, best.less)) {
    const others = (best.less.actions ?? numbersOf(seed, best.less)).filter((other) => other !== number);
    await isSmaller({ ...best.less, actions: others });
  }
  return best;
}

/** The numbers of the actions that are left, as --actions counts them. */
function numbersOf(seed: number, { without = [] }: Less): number[] {
  const all: Drawn['actions'] = drawn(seed).actions;
  return all.flatMap(({ kind }, number) => (without.includes(kind) ? [] : [number]));
}

/** The command that plays a history again. */
export function commandOf(seed: number, { nodes, rounds, without, actions }: Less): string {
  const words = [`--seed ${seed}`];
  if (nodes !== undefined) words.push(`--nodes ${nodes}`);
  if (rounds !== undefined) words.push(`--rounds ${rounds}`);
  if (without !== undefined && without.length > 0) words.push(`--without ${without.join(',')}`);
  const isBare = momentFaults.every((kind) => without?.includes(kind));
  if (actions !== undefined && !isBare) words.push(`--actions ${actions.join(',')}`);
  return `npm run simulate -- ${words.join(' ')}`;
}
