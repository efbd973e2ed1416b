/**
 * Values in etcd that no controller of ours wrote, or another version of it: each is read as what it is,
 * or refused as STORE_INVALID with its key, wherever a controller meets it. What a newer controller wrote
 * beside what we know is kept when we write.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { EtcdEntry } from '../../controller/leadership/etcd.js';
import { encode } from '../../controller/state/records.js';
import {
  type JsonWound,
  jsonWounds,
  type Wound,
  wounded,
  woundedJson,
  wounds,
} from './mutations.test.part.js';
import { codeOf } from './promise.test.part.js';
import { keys, rolloutId, storedCluster, useAll } from './stored-cluster.test.part.js';
import { hostile } from './target.test.part.js';

const cluster = storedCluster();

test('the cluster is used as it stands, and all kinds of keys are in it', () => {
  useAll(cluster);
  const all = [
    ...[keys.epoch, keys.lineage, keys.budget, keys.leader, keys.active, keys.freeze, keys.plan(rolloutId)],
    ...[keys.controller('controller-1'), keys.nodeSpec('node-1'), keys.nodeStatus('node-1'), keys.slot('0')],
    ...[keys.nodeHold('node-2'), keys.nodeOrder('node-3'), keys.intent('41'), keys.outcome('40')],
    ...[
      keys.planPart(rolloutId, 'node-1'),
      keys.rolloutState(rolloutId),
      keys.rolloutNode(rolloutId, 'node-1'),
    ],
    keys.rolloutIntent(rolloutId, '42'),
  ];
  for (const key of all)
    assert.ok(
      cluster.some((entry) => entry.key === key),
      key,
    );
});

/** One entry in another state; `fine`, or the code of the refusal, which names the key or what hangs on it. */
function withValue(entry: EtcdEntry, value: string): string {
  const entries = cluster.map((other) => (other.key === entry.key ? { ...entry, value } : other));
  try {
    useAll(entries);
    return 'fine';
  } catch (thrown) {
    assert.equal(codeOf(thrown), 'STORE_INVALID');
    const isNamed = String(thrown).includes(entry.key);
    // A part of a plan is refused with its plan, whose digest it breaks.
    const isOfPlan =
      entry.key.startsWith(keys.plan(rolloutId)) && String(thrown).includes(keys.plan(rolloutId));
    assert.ok(isNamed || isOfPlan, `${entry.key} is not named: ${thrown}`);
    return 'STORE_INVALID';
  }
}

/** What once was read, and then could not be told or sent: an error without the key, or none at all. */
const found: readonly (readonly [key: string, field: string, value: unknown])[] = [
  [keys.nodeStatus('node-1'), 'since', ''],
  [keys.nodeSpec('node-1'), 'counter', 'many'],
  [keys.leader, 'epoch', 1.5],
  [keys.plan(rolloutId), 'estimateMs', 0.5],
  [keys.rolloutNode(rolloutId, 'node-1'), 'attempt', 2 ** 32],
  [keys.rolloutState(rolloutId), 'exitCode', -1],
  [keys.slot('0'), 'term', '9'.repeat(21)],
  [keys.budget, 'max', 2 ** 40],
];

test('numbers and times that the protocol cannot carry are refused where they are read', () => {
  for (const [key, field, value] of found) {
    const entry = cluster.find((candidate) => candidate.key === key);
    assert.ok(entry, key);
    const text = JSON.stringify({ ...JSON.parse(entry.value), [field]: value });
    assert.equal(withValue(entry, text), 'STORE_INVALID', `${key} ${field}`);
  }
});

/** A case: which entry, and what happened to its value. */
type Case =
  | { readonly at: number; readonly json: readonly JsonWound[] }
  | { readonly at: number; readonly bytes: readonly Wound[] };
const at = fc.nat(cluster.length - 1);

hostile<Case>(import.meta.url, {
  name: 'a damaged value in etcd is used, or refused as STORE_INVALID with its key',
  cases: fc.oneof(
    { weight: 5, arbitrary: fc.record({ at, json: jsonWounds }) },
    fc.record({ at, bytes: wounds }),
  ),
  casesMin: 50,
  check: (drawn) => {
    const entry = cluster[drawn.at];
    assert.ok(entry);
    const sample = entry.value;
    return withValue(
      entry,
      'json' in drawn
        ? woundedJson(JSON.parse(sample), drawn.json)
        : wounded(Buffer.from(sample), drawn.bytes).toString(),
    );
  },
});

hostile(import.meta.url, {
  name: 'fields that we do not know are kept when a value is written again',
  cases: fc.record({
    before: fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 3 })),
    ours: fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 1 })),
  }),
  casesMin: 50,
  check: ({ before, ours }) => {
    const stored = JSON.stringify(before);
    const after = JSON.parse(encode(ours, stored)) as Record<string, unknown>;
    const expected = new Map(Object.entries(JSON.parse(stored)));
    for (const [key, value] of Object.entries(JSON.parse(JSON.stringify(ours)))) expected.set(key, value);
    assert.deepEqual(new Map(Object.entries(after)), expected);
    return 'kept';
  },
});
