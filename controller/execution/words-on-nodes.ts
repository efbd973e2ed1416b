/**
 * What a person did on a node itself, while no controller was there to be asked: the node tells it when it is
 * adopted, and it goes into the audit record. Each word stands there once: the key of its job is created in
 * the transaction that records it, and goes when the node, which keeps its last jobs, tells it no more.
 */
import { limits } from '../../config/limits.js';
import type { JournalJob } from '../../gen/plexi/v1/node_agent.js';
import type { EtcdEntry } from '../leadership/etcd.js';
import type { ClusterKeys } from '../state/keys.js';
import type { Lookup, WriteGroup } from '../state/world-writes.js';

/** A write, and the key that says after a lost answer that it was made. */
export interface WordsWrite {
  readonly group: WriteGroup;
  readonly doneKey: string;
}

/** Whether a job was begun, or taken back, by a person on the node, and has ended. */
export function isWord({ by, result }: JournalJob): boolean {
  return by !== '' && result !== undefined;
}

/**
 * Pure. What is to be written of the words that stand in no record yet, and the keys of which nobody asks any
 * more; undefined when there is nothing. No more than `limits.wordsOnNodeAtOnce` of either: ask again after.
 * @param jobs all that the node told, newest last
 * @param stored what stands under `nodeWords` of this node, as far as it is known
 */
export function writeOfWords(
  keys: ClusterKeys,
  node: string,
  jobs: readonly JournalJob[],
  stored: readonly EtcdEntry[],
  lookup: Lookup,
): WordsWrite | undefined {
  const most = limits.wordsOnNodeAtOnce;
  const keyOf = ({ commandId }: JournalJob): string =>
    keys.nodeWord(node, commandId.slice(0, limits.commandIdChars));
  const words = jobs.filter(isWord).slice(-limits.journalJobsKept);
  const untold = new Map(words.map((job) => [keyOf(job), job]));
  for (const key of untold.keys()) if (lookup(key) !== undefined) untold.delete(key);
  const told = [...untold].slice(0, most);
  const [first] = told;
  if (first === undefined) return undefined;
  const kept = new Set(jobs.map(keyOf));
  const gone = stored.filter(({ key }) => !kept.has(key)).slice(0, most);
  return {
    doneKey: first[0],
    group: {
      operations: [
        ...told.map(([key, { commandId }]) => ({
          ...{ kind: 'put' as const, key },
          value: JSON.stringify({ commandId: commandId.slice(0, limits.commandIdChars) }),
        })),
        ...gone.map(({ key }) => ({ kind: 'delete' as const, key })),
      ],
      guards: told.map(([key]) => ({ kind: 'createRevision' as const, key, equals: 0n })),
      audit: told.map(([, job]) => entryOf(node, job)),
    },
  };
}

function entryOf(node: string, job: JournalJob) {
  const { result } = job;
  const failure = result?.failure;
  return {
    what: 'by_hand',
    rollout: job.rolloutId,
    who: job.by.slice(0, limits.nameChars),
    node,
    commandId: job.commandId.slice(0, limits.commandIdChars),
    reason: job.reason.slice(0, limits.reasonChars),
    outcome: (result?.outcome ?? '').slice(0, limits.nameChars),
    error: failure ? { code: failure.code, message: failure.message.slice(0, limits.failureChars) } : null,
    release: result?.release ?? null,
  } as const;
}
