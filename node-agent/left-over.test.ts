/** What a crash leaves half written does not stay: the next start of the agent removes it. */
import assert from 'node:assert/strict';
import { lstatSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { openTestNode } from './agent-node.test.part.js';

test('temporary names in every folder that the agent writes to are swept, and what they lead to stays', async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'plexi-left-over-'));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  const folders = ['.', 'agent', 'agent/journal', 'agent/identity', 'run'];
  for (const folder of folders) mkdirSync(join(root, folder), { recursive: true });
  const names = folders.map((folder) => join(root, folder, '.tmp-abc'));
  for (const name of names.slice(1)) writeFileSync(name, 'half');
  mkdirSync(join(root, 'releases', '0a1'), { recursive: true });
  writeFileSync(join(root, 'releases', '0a1', 'kept'), '');
  // A link that was to be swapped in.
  symlinkSync('releases/0a1', names[0] ?? '');
  const node = await openTestNode(root);
  await node.closeLog();
  assert.deepEqual(
    names.filter((name) => lstatSync(name, { throwIfNoEntry: false }) !== undefined),
    [],
  );
  assert.ok(lstatSync(join(root, 'releases', '0a1', 'kept')).isFile());
});

test('a half-unpacked copy of any release goes, and a half-written file beside it, also of the one that runs; a release, and what a link leads to, stays', async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'plexi-left-over-'));
  t.after(() => rmSync(root, { recursive: true, force: true }));
  const folders = ['0a1', '.staging-0a1', '.staging-0b1', '.staging-live', 'other'];
  for (const folder of folders) {
    mkdirSync(join(root, 'releases', folder, 'lib'), { recursive: true });
    writeFileSync(join(root, 'releases', folder, 'lib', 'server.mjs'), 'half');
  }
  // The last one belongs to a release that was on its way out.
  for (const file of [
    ...['.0a1.manifest.json.0123456789ab.tmp', '.hidden'],
    ...['0a1.manifest.json', 'other.manifest.json', 'gone.manifest.json'],
  ])
    writeFileSync(join(root, 'releases', file), 'half');
  symlinkSync('releases/0a1', join(root, 'current'));
  // No agent makes such a link; whoever did may run from it.
  symlinkSync('releases/.staging-live', join(root, 'previous'));
  const node = await openTestNode(root);
  await node.closeLog();
  assert.deepEqual(readdirSync(join(root, 'releases')).sort(), [
    ...['.hidden', '.staging-live', '0a1', '0a1.manifest.json'],
    ...['other', 'other.manifest.json'],
  ]);
  assert.ok(lstatSync(join(root, 'current', 'lib', 'server.mjs')).isFile());
});
