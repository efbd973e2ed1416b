/** What a node tells of a person on it: how much of it is written at once, and what of it is written at all. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { limits } from '../../config/limits.js';
import { JournalJob } from '../../gen/plexi/v1/node_agent.js';
import type { EtcdEntry } from '../leadership/etcd.js';
import { clusterKeys } from '../state/keys.js';
import { writeOfWords } from './words-on-nodes.js';

const keys = clusterKeys('test');

function word(commandId: string, changes: Partial<JournalJob> = {}): JournalJob {
  const result = { outcome: 'done', release: { version: '0a1', digest: 'a' } };
  return JournalJob.fromPartial({ commandId, by: 'ada', reason: 'alone', result, ...changes });
}

const entry = (key: string): EtcdEntry => ({
  key,
  value: '{}',
  createRevision: 1n,
  modRevision: 1n,
  lease: '0',
});
const nothingStored = () => undefined;

test('what a controller commanded, and what is under way, is not written', () => {
  const jobs = [word('theirs', { by: '', reason: '' }), word('open', { result: undefined })];
  assert.equal(writeOfWords(keys, 'node-1', jobs, [], nothingStored), undefined);
});

test('many words are written one part after another, each once', () => {
  const jobs = Array.from({ length: limits.journalJobsKept + 5 }, (_, at) => word(`by-hand-${at}`));
  const stored = new Map<string, EtcdEntry>();
  const told: string[] = [];
  for (;;) {
    const write = writeOfWords(keys, 'node-1', jobs, [...stored.values()], (key) => stored.get(key));
    if (write === undefined) break;
    const { operations, guards, audit = [] } = write.group;
    assert.ok(operations.length + audit.length <= 3 * limits.wordsOnNodeAtOnce);
    assert.deepEqual(
      guards,
      operations.map(({ key }) => ({ kind: 'createRevision', key, equals: 0n })),
    );
    assert.equal(write.doneKey, operations[0]?.key);
    for (const { key } of operations) stored.set(key, entry(key));
    told.push(...audit.map((one) => ('commandId' in one ? one.commandId : '')));
  }
  assert.deepEqual(
    told,
    jobs.slice(-limits.journalJobsKept).map(({ commandId }) => commandId),
  );
});

test('what a node says is bounded, and makes no key of another kind', () => {
  const failure = { code: 'PROBE_FAILED', message: 'm'.repeat(2 * limits.failureChars) };
  const long = 'x'.repeat(2 * limits.reasonChars);
  const result = { outcome: long, failure };
  const job = word(`${long}/spec`, {
    by: long,
    reason: long,
    result: word('', { result: undefined }).result,
  });
  const jobs = [JournalJob.fromPartial({ ...job, result }), word('../node-2/hold')];
  const { operations, audit } = writeOfWords(keys, 'node-1', jobs, [], nothingStored)?.group ?? {};
  for (const { key } of operations ?? [])
    assert.doesNotMatch(key.slice(keys.nodeWords('node-1').length), /\//);
  const [first] = audit ?? [];
  assert.ok(first?.what === 'by_hand' && first.error);
  assert.deepEqual(
    [first.commandId, first.who, first.reason, first.outcome, first.error.message].map(
      ({ length }) => length,
    ),
    [limits.commandIdChars, limits.nameChars, limits.reasonChars, limits.nameChars, limits.failureChars],
  );
});

test('of what the node tells no more the key goes, with the next word', () => {
  const gone = keys.nodeWord('node-1', 'by-hand-1');
  const write = writeOfWords(keys, 'node-1', [word('by-hand-2')], [entry(gone)], nothingStored);
  assert.deepEqual(
    write?.group.operations.map(({ kind, key }) => [kind, key]),
    [
      ['put', keys.nodeWord('node-1', 'by-hand-2')],
      ['delete', gone],
    ],
  );
});
