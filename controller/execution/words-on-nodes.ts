/**
 * What a person did on a node itself, while no controller was there to be asked: the node tells it when it is
 * adopted, and it goes into the audit record. Each word stands there once: the key of its job is created in
 * the transaction that records it, and goes when the node, which keeps its last jobs, tells it no more.
 * A word that cannot be written is left out and logged; it never costs the lead.
 */
import type { Logger } from 'pino';
import { PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import type { JournalJob } from '../../gen/plexi/v1/node_agent.js';
import type { Lead } from '../leadership/campaign.js';
import type { EtcdEntry } from '../leadership/etcd.js';
import type { ClusterKeys } from '../state/keys.js';
import type { Mirror } from '../state/mirror.js';
import type { Lookup, WriteGroup } from '../state/world-writes.js';
import { isWord, type WordOnNode, wordOf } from './agent-words.js';
import type { RunLoop } from './run-loop.js';

/** A write, and the key that says after a lost answer that it was made. */
export interface WordsWrite {
  readonly group: WriteGroup;
  /** Undefined: nothing is created, and removing it all once more does no harm. */
  readonly doneKey: string | undefined;
  /** What is recorded by it. */
  readonly told: readonly WordOnNode[];
}

export interface RecordingParts {
  readonly keys: ClusterKeys;
  readonly mirror: Pick<Mirror, 'under'>;
  readonly lead: Pick<Lead, 'signal'>;
  readonly loop: Pick<RunLoop, 'record' | 'lookup' | 'load'>;
  readonly log: Logger;
}

/**
 * Records what the journal of a node tells of a person on it, within scheduled work of the loop.
 * @param jobs newest last
 * @throws PlexiError of the store or the lead, and of nothing that the node said
 */
export async function recordWords(
  { keys, mirror, lead, loop, log }: RecordingParts,
  node: string,
  jobs: readonly JournalJob[],
): Promise<void> {
  let words = readableWords(node, jobs, log);
  let most: number = limits.wordsOnNodeAtOnce;
  const next = () => writeOfWords(keys, node, words, mirror.under(keys.nodeWords(node)), loop.lookup, most);
  // Each round records, removes or leaves out; what still comes after so many is told at the next adoption.
  for (let round = 0; round < 2 * limits.journalJobsKept && !lead.signal.aborted; round++) {
    const write = next();
    if (write === undefined) return;
    try {
      await loop.record(write.group, write.doneKey);
    } catch (thrown) {
      if (thrown instanceof PlexiError && thrown.code !== 'LIMIT_EXCEEDED') throw thrown;
      // What the loop holds in memory may be half of what it was about to write.
      await loop.load();
      const [first] = write.told;
      if (first === undefined) throw thrown;
      if (write.told.length === 1) {
        leaveOut(node, first.commandId, thrown, log);
        words = words.filter((word) => word !== first);
      }
      // Which of them it was shows when they are written one by one.
      most = 1;
    }
  }
}

function readableWords(node: string, jobs: readonly JournalJob[], log: Logger): readonly WordOnNode[] {
  return jobs
    .filter(isWord)
    .slice(-limits.journalJobsKept)
    .flatMap((job) => {
      try {
        return [wordOf(job)];
      } catch (thrown) {
        leaveOut(node, '', thrown, log);
        return [];
      }
    });
}

function leaveOut(node: string, commandId: string, err: unknown, log: Logger): void {
  log.error({ node, commandId, err }, 'a word said on the node is left out of the audit record');
}

/**
 * Pure. What is to be written of the words that stand in no record yet, and the keys of which nobody asks any
 * more; undefined when there is neither. No more than `most` of either: ask again after.
 * @param words all that the node told, newest last
 * @param stored what stands under `nodeWords` of this node, as far as it is known
 */
export function writeOfWords(
  keys: ClusterKeys,
  node: string,
  words: readonly WordOnNode[],
  stored: readonly EtcdEntry[],
  lookup: Lookup,
  most: number = limits.wordsOnNodeAtOnce,
): WordsWrite | undefined {
  const untold = new Map(words.map((word) => [keys.nodeWord(node, word.id), word]));
  const kept = new Set(untold.keys());
  for (const [key, { id }] of untold) {
    const earlier = keys.earlierNodeWord(node, id);
    kept.add(earlier);
    if (lookup(key) !== undefined || lookup(earlier) !== undefined) untold.delete(key);
  }
  const told = [...untold].slice(0, most);
  // The mirror may still show what this leader has removed.
  const gone = stored.filter(({ key }) => !kept.has(key) && lookup(key) !== undefined).slice(0, most);
  if (told.length === 0 && gone.length === 0) return undefined;
  return {
    doneKey: told[0]?.[0],
    told: told.map(([, word]) => word),
    group: {
      operations: [
        ...told.map(([key, { commandId }]) => ({
          ...{ kind: 'put' as const, key },
          value: JSON.stringify({ commandId }),
        })),
        ...gone.map(({ key }) => ({ kind: 'delete' as const, key })),
      ],
      guards: told.map(([key]) => ({ kind: 'createRevision' as const, key, equals: 0n })),
      audit: told.map(([, { id: _, ...word }]) => ({ what: 'by_hand' as const, node, ...word })),
    },
  };
}
