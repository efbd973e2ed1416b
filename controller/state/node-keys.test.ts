/** Which keys speak of a node: the node's own word and no other, whatever stands further below its name. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { EtcdEntry } from '../leadership/etcd.js';
import { clusterKeys } from './keys.js';
import { labelsOf, ofNodes } from './load-world.js';
import { readNodes } from './node-store.js';

const keys = clusterKeys('test');

function entry(key: string, value: unknown): EtcdEntry {
  return { key, value: JSON.stringify(value), createRevision: 1n, modRevision: 1n, lease: '0' };
}

const spec = entry(keys.nodeSpec('node-1'), { address: '127.0.0.1:1' });
const words = ['spec', 'status', 'hold', 'order', 'epoch'];
/** Where controllers of before kept words that were said on a node: under the name that the node gave them. */
const below = words.map((word) => entry(`${keys.nodeWords('node-1')}${word}`, { commandId: word }));

test('what a node named like a key of a node is read as no node, and as no word of one', () => {
  const entries = [spec, ...below];
  assert.deepEqual(
    readNodes(keys, entries).map(({ id }) => id),
    ['node-1'],
  );
  assert.deepEqual([...labelsOf(keys, entries).keys()], ['node-1']);
  for (const word of words)
    assert.deepEqual(
      [...ofNodes(keys, entries, word, (key) => key)],
      word === 'spec' ? [['node-1', spec.key]] : [],
    );
});

test('a node has a name, and a key that says nothing of any node names none', () => {
  const stray = [`${keys.nodes}spec`, `${keys.nodes}/spec`, `${keys.slots}spec`, `${keys.nodes}node-1/spec/`];
  for (const key of stray) assert.equal(keys.nodeOf(key, 'spec'), undefined, key);
  assert.equal(keys.nodeOf(keys.nodeSpec('node-1'), 'spec'), 'node-1');
});

test('the key of a word said on a node is of one form, whatever the node calls it', () => {
  const ids = [
    'spec',
    'by-hand-1',
    '../node-2/hold',
    '',
    '\u{1f600}'.repeat(400),
    `${'x'.repeat(399)}\ud83d`,
  ];
  const under = ids.map((id) => keys.nodeWord('node-1', id).slice(keys.nodeWords('node-1').length));
  for (const form of under) assert.match(form, /^[0-9a-f]{64}$/);
  assert.equal(new Set(under).size, ids.length);
});
