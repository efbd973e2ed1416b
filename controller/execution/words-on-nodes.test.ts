/** What a node tells of a person on it: how much of it is written at once, and what of it is written at all. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import pino from 'pino';
import { PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import { JournalJob } from '../../gen/plexi/v1/node_agent.js';
import type { EtcdEntry } from '../leadership/etcd.js';
import { clusterKeys } from '../state/keys.js';
import { wordOf } from './agent-words.js';
import { type RecordingParts, recordWords, writeOfWords } from './words-on-nodes.js';

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

/** A loop that stores what it is given in memory, as far as it takes it; a mirror of it; and what it recorded. */
function memory(refuses: (told: readonly string[]) => Error | undefined = () => undefined) {
  const stored = new Map<string, EtcdEntry>();
  const rounds: string[][] = [];
  const sizes: number[] = [];
  const logged: unknown[] = [];
  let loads = 0;
  const parts: RecordingParts = {
    keys,
    mirror: { under: (prefix) => [...stored.values()].filter(({ key }) => key.startsWith(prefix)) },
    lead: { signal: new AbortController().signal },
    loop: {
      lookup: (key) => stored.get(key),
      load: async () => {
        loads += 1;
      },
      record: async ({ operations, guards, audit = [] }, doneKey) => {
        const told = audit.map((one) => ('commandId' in one ? one.commandId : ''));
        const error = refuses(told);
        if (error !== undefined) throw error;
        const puts = operations.filter(({ kind }) => kind === 'put');
        assert.deepEqual(
          guards,
          puts.map(({ key }) => ({ kind: 'createRevision', key, equals: 0n })),
        );
        assert.equal(doneKey, puts[0]?.key);
        sizes.push(operations.length + audit.length);
        for (const { kind, key } of operations) {
          if (kind === 'put') stored.set(key, entry(key));
          else stored.delete(key);
        }
        rounds.push(told);
      },
    },
    log: pino({}, { write: (line: string) => logged.push(JSON.parse(line)) }),
  };
  return { parts, stored, rounds, sizes, logged, loads: () => loads };
}

test('what a controller commanded, and what is under way, is not written', async () => {
  const { parts, rounds } = memory();
  await recordWords(parts, 'node-1', [
    word('theirs', { by: '', reason: '' }),
    word('open', { result: undefined }),
  ]);
  assert.deepEqual(rounds, []);
});

test('many words are written one part after another, each once', async () => {
  const { parts, rounds, sizes } = memory();
  const jobs = Array.from({ length: limits.journalJobsKept + 5 }, (_, at) => word(`by-hand-${at}`));
  await recordWords(parts, 'node-1', jobs);
  await recordWords(parts, 'node-1', jobs);
  assert.deepEqual(
    rounds.flat(),
    jobs.slice(-limits.journalJobsKept).map(({ commandId }) => commandId),
  );
  assert.ok(Math.max(...sizes) <= 3 * limits.wordsOnNodeAtOnce);
});

test('a word that cannot be written is left out and logged, and all others are written', async () => {
  for (const error of [new PlexiError('LIMIT_EXCEEDED', 'too large'), new URIError('URI malformed')]) {
    const { parts, rounds, logged, loads } = memory((told) => (told.includes('bad') ? error : undefined));
    const ids = ['first', 'bad', 'last'];
    await recordWords(
      parts,
      'node-1',
      ids.map((id) => word(id)),
    );
    assert.deepEqual(rounds.flat(), ['first', 'last']);
    assert.equal(loads(), 2, 'after each error it goes on from what is stored');
    assert.deepEqual(
      logged.map((line) => Object(line).commandId),
      ['bad'],
    );
  }
});

test('that the store is away, or the lead over, is no fault of a word', async () => {
  for (const code of ['NOT_LEADER', 'STORE_UNAVAILABLE', 'CONFLICT'] as const) {
    const { parts, logged } = memory(() => new PlexiError(code, 'not now'));
    await assert.rejects(recordWords(parts, 'node-1', [word('one')]), { code });
    assert.deepEqual(logged, []);
  }
});

test('what a node says is bounded, in whole characters, and makes no key of another kind', () => {
  const long = `${'x'.repeat(limits.nameChars - 1)}${'\u{1f600}'.repeat(2 * limits.failureChars)}`;
  const failure = { code: long, message: long };
  const result = { outcome: long, failure, release: { version: long, digest: long } };
  const jobs = [
    JournalJob.fromPartial({ commandId: `${long}/spec`, rolloutId: long, by: long, reason: long, result }),
    word('../node-2/hold'),
    word('spec'),
  ];
  const { operations, audit } =
    writeOfWords(keys, 'node-1', jobs.map(wordOf), [], nothingStored)?.group ?? {};
  assert.equal(operations?.length, 3);
  for (const { key } of operations ?? [])
    assert.match(key.slice(keys.nodeWords('node-1').length), /^[0-9a-f]{64}$/);
  const [first] = audit ?? [];
  assert.ok(first?.what === 'by_hand' && first.error && first.release);
  const { commandId, who, reason, outcome, error, release, rollout } = first;
  for (const [text, chars] of [
    ...([
      [commandId, limits.commandIdChars],
      [who, limits.nameChars],
      [reason, limits.reasonChars],
    ] as const),
    ...([
      [outcome, limits.nameChars],
      [error.message, limits.failureChars],
      [rollout, limits.wordChars],
    ] as const),
    ...([
      [error.code, limits.wordChars],
      [release.version, limits.wordChars],
    ] as const),
    ...([[release.digest, limits.wordChars]] as const),
  ]) {
    assert.ok(text.length <= chars && text.length >= chars - 1, `${text.length} for ${chars}`);
    assert.doesNotThrow(() => encodeURIComponent(text));
  }
});

test('two words whose ids differ only after what is kept of them are two', async () => {
  const { parts, rounds } = memory();
  const id = 'x'.repeat(limits.commandIdChars);
  await recordWords(parts, 'node-1', [word(`${id}1`), word(`${id}2`)]);
  assert.equal(rounds.flat().length, 2);
});

test('of what the node tells no more the key goes, also when it tells nothing new', async () => {
  const { parts, stored, rounds } = memory();
  await recordWords(parts, 'node-1', [word('by-hand-1'), word('by-hand-2')]);
  await recordWords(parts, 'node-1', [word('by-hand-2')]);
  assert.deepEqual([...stored.keys()], [keys.nodeWord('node-1', 'by-hand-2')]);
  await recordWords(parts, 'node-1', []);
  assert.deepEqual([[...stored.keys()], rounds], [[], [['by-hand-1', 'by-hand-2'], [], []]]);
});

test('a word that a controller of before has recorded is not recorded again, and its key goes as others do', async () => {
  const { parts, stored, rounds } = memory();
  for (const id of ['by-hand-1', 'spec']) {
    const key = `${keys.nodeWords('node-1')}${id}`;
    stored.set(key, entry(key));
  }
  await recordWords(parts, 'node-1', [word('by-hand-1'), word('spec')]);
  assert.deepEqual([rounds, stored.size], [[], 2]);
  await recordWords(parts, 'node-1', [word('by-hand-1'), word('by-hand-3')]);
  assert.deepEqual(rounds, [['by-hand-3']]);
  assert.deepEqual(
    [...stored.keys()],
    [`${keys.nodeWords('node-1')}by-hand-1`, keys.nodeWord('node-1', 'by-hand-3')],
  );
});
