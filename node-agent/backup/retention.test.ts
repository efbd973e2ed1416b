import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { createBackup } from './create.js';
import { loadOrCreateBackupKeys } from './keys.js';
import { listBackups, type PruneOrder, pruneBackups } from './retention.js';

let root = '';
let directory = '';
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'plexi-retention-'));
  directory = join(root, 'backups');
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const now = new Date('2025-01-31T00:00:00Z');

/** Backups with the given ages in days; the id tells the age. */
async function makeBackups(ages: readonly number[]): Promise<void> {
  mkdirSync(join(root, 'data'), { recursive: true });
  const keys = await loadOrCreateBackupKeys(root);
  for (const age of ages) {
    const createdAt = new Date(now.getTime() - age * 86_400_000).toISOString();
    const facts = { version: '0a1', node: 'n', rollout: 'r', encryption: true, keys, createdAt };
    await createBackup({ root, paths: ['data'], directory: 'backups', id: `day${age}`, ...facts });
  }
}

function prune(change: Partial<PruneOrder> = {}) {
  return pruneBackups({ directory, keep: 3, retentionDays: 30, now, pinned: new Set(), ...change });
}

describe('retention', () => {
  test('keeps by number or by age, whichever keeps more', async () => {
    await makeBackups([1, 20, 30, 31, 40, 50]);
    assert.deepEqual((await prune({ keep: 5 })).removed, ['day50']);
    assert.deepEqual((await prune({ keep: 1 })).removed, ['day31', 'day40']);
    assert.deepEqual((await prune({ keep: 1, retentionDays: 0 })).removed, ['day20', 'day30']);
    assert.deepEqual(readdirSync(directory), ['day1']);
  });

  test('never removes a pinned one, which does not take the place of another', async () => {
    await makeBackups([40, 50, 60, 70]);
    const result = await prune({ keep: 1, pinned: new Set(['day60']) });
    assert.deepEqual(result, { removed: ['day50', 'day70'], kept: ['day40', 'day60'], unreadable: [] });
  });

  test('removes an unfinished one, keeps an unreadable one and names it', async () => {
    await makeBackups([1, 2, 3]);
    rmSync(join(directory, 'day1/.complete'));
    rmSync(join(directory, 'day2/.complete'));
    writeFileSync(join(directory, 'day3/manifest.json'), Buffer.alloc(100));
    const result = await prune({ pinned: new Set(['day2']) });
    assert.deepEqual(result, { removed: ['day1'], kept: ['day2'], unreadable: ['day3'] });
    assert.deepEqual(readdirSync(directory).sort(), ['day2', 'day3']);
  });

  test('lists newest first, with what is known of each', async () => {
    assert.deepEqual(await listBackups(directory), []);
    await makeBackups([3, 1]);
    mkdirSync(join(directory, 'begun'));
    const listed = await listBackups(directory);
    assert.deepEqual(
      listed.map(({ id, state, facts }) => [id, state, facts?.createdAt, facts?.version]),
      [
        ['day1', 'complete', '2025-01-30T00:00:00.000Z', '0a1'],
        ['day3', 'complete', '2025-01-28T00:00:00.000Z', '0a1'],
        ['begun', 'unfinished', undefined, undefined],
      ],
    );
  });
});
