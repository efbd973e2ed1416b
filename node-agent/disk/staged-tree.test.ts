/** A tree that is built beside the live one: in the end each entry is exactly what was asked for. */
import assert from 'node:assert/strict';
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { type StagedEntry, StagedTree } from './staged-tree.js';

const isRoot = process.geteuid?.() === 0;
/** Another owner, where one may be given. */
const stranger = 4_711;

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'plexi-staged-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));
const staged = () => join(folder, 'staged');

function entry(path: string, change: Partial<StagedEntry> = {}): StagedEntry {
  const { uid, gid } = lstatSync(folder);
  return { path, mode: '640', uid, gid, mtimeMs: 1_734_609_600_123.456, ...change };
}

async function* body(...pieces: (string | Buffer)[]) {
  for (const piece of pieces) yield Buffer.from(piece);
}

function what(path: string): Pick<StagedEntry, 'mode' | 'uid' | 'gid'> & { seconds: number } {
  const { mode, uid, gid, mtimeMs } = lstatSync(join(staged(), path));
  return { mode: (mode & 0o7777).toString(8), uid, gid, seconds: Math.floor(mtimeMs / 1_000) };
}

test('folders, files of any length and links get their content, mode and time, deepest first', async () => {
  const long = Buffer.alloc(200_000, 7);
  const tree = await StagedTree.begin(staged());
  await tree.addFolder(entry('sub', { mode: '500' }));
  await tree.addFile(entry('sub/short', { mode: '4755' }), 6, body('one', 'two'));
  await tree.addFile(entry('var/lib/long', { mtimeMs: -1_500 }), long.length, body(long));
  await tree.addLink(entry('var/lib/link'), 'nowhere');
  await tree.finish();

  assert.equal(readFileSync(join(staged(), 'sub/short'), 'utf8'), 'onetwo');
  assert.ok(readFileSync(join(staged(), 'var/lib/long')).equals(long));
  assert.equal(readlinkSync(join(staged(), 'var/lib/link')), 'nowhere');
  const { uid, gid } = entry('');
  const seconds = 1_734_609_600;
  assert.deepEqual(what('sub'), { mode: '500', uid, gid, seconds });
  assert.deepEqual(what('sub/short'), { mode: '4755', uid, gid, seconds });
  assert.deepEqual(what('var/lib/long'), { mode: '640', uid, gid, seconds: -2 });
  assert.equal(what('var/lib/link').seconds, seconds);
});

test('owners are given by root, and refused to anybody else', async () => {
  const tree = await StagedTree.begin(staged());
  const strange = { uid: stranger, gid: stranger };
  await tree.addFile(entry('file', { ...strange, mode: '6711' }), 1, body('x'));
  await tree.addLink(entry('link', strange), 'file');
  if (!isRoot) return assert.rejects(tree.finish(), { code: 'EPERM' });
  await tree.finish();
  const { seconds } = what('file');
  assert.deepEqual(what('file'), { mode: '6711', ...strange, seconds });
  assert.deepEqual([what('link').uid, what('link').gid], [stranger, stranger]);
});

test('what a crash left under its name is gone; a name that is taken within is an error', async () => {
  mkdirSync(join(staged(), 'old'), { recursive: true });
  writeFileSync(join(staged(), 'old', 'file'), '');
  const tree = await StagedTree.begin(staged());
  await tree.addFile(entry('a'), 1, body('x'));
  await assert.rejects(tree.addFile(entry('a'), 1, body('y')), { code: 'EEXIST' });
  await assert.rejects(tree.addFile(entry('a'), 100_000, body('y')), { code: 'EEXIST' });
  await tree.finish();
  assert.equal(readFileSync(join(staged(), 'a'), 'utf8'), 'x');
  assert.throws(() => lstatSync(join(staged(), 'old')), { code: 'ENOENT' });
});
