/**
 * Backups whose files are damaged, or that somebody with the node's key has made: one that is accepted is
 * the backup that was made, and whatever happens nothing is written outside the node's root.
 */
import assert from 'node:assert/strict';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before } from 'node:test';
import fc from 'fast-check';
import { completeMark, signManifest } from '../../node-agent/backup/backup-manifest.js';
import { createBackup } from '../../node-agent/backup/create.js';
import { listing, orderFor } from '../../node-agent/backup/hard-tree.test.fixture.js';
import { loadOrCreateBackupKeys } from '../../node-agent/backup/keys.js';
import { restoreBackup } from '../../node-agent/backup/restore.js';
import { verifyBackup } from '../../node-agent/backup/verify.js';
import { Canary } from './canary.test.part.js';
import {
  type JsonWound,
  jsonWounds,
  type Wound,
  wounded,
  woundedJson,
  wounds,
} from './mutations.test.part.js';
import { endOf } from './promise.test.part.js';
import { hostile } from './target.test.part.js';

const work = mkdtempSync(join(tmpdir(), 'plexi-hostile-'));
after(() => rm(work, { recursive: true, force: true }));
mkdirSync(join(work, 'identity'));
mkdirSync(join(work, 'roots'));
const keys = await loadOrCreateBackupKeys(join(work, 'identity'));

const original = join(work, 'original');
mkdirSync(join(original, 'data/sub'), { recursive: true });
mkdirSync(join(original, 'config'));
writeFileSync(join(original, 'data/messages'), 'hello\n'.repeat(50));
writeFileSync(join(original, 'data/sub/note'), 'a');
symlinkSync('../../outside', join(original, 'data/link'));
writeFileSync(join(original, 'config/service.yml'), 'port: 1\n');
await createBackup(orderFor(original, keys, { encryption: false }));
const honest = listing(original);
writeFileSync(join(work, 'outside'), 'as it was\n');

let canary: Canary;
let count = 0;
before(async () => {
  canary = await Canary.set(work, ['roots']);
});

const parts = ['manifest.json', 'manifest.sig', '.complete', 'archive.tar.gz'] as const;

/** Verifies and restores a backup after a change; what is accepted gives the very tree that was saved. */
async function restore(change: (backup: string) => void): Promise<string> {
  const root = join(work, 'roots', String(count++));
  cpSync(original, root, { recursive: true, verbatimSymlinks: true, preserveTimestamps: true });
  const order = { root, backupDir: join(root, 'backups', 'one'), id: 'one', keys };
  try {
    change(order.backupDir);
    const verified = await endOf(() => verifyBackup(order));
    const restored = await endOf(() => restoreBackup(order));
    await canary.check();
    return `${verified}, ${restored} ${restored === 'fine' && String(listing(root)) === String(honest) ? 'the same' : ''}`;
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

hostile(import.meta.url, {
  name: 'a backup with a damaged file is refused, or is the one that was made',
  cases: fc.record({ part: fc.constantFrom(...parts), how: wounds }),
  casesMin: 5,
  check: async ({ part, how }: { part: (typeof parts)[number]; how: readonly Wound[] }) => {
    const end = await restore((backup) =>
      writeFileSync(join(backup, part), wounded(readFileSync(join(backup, part)), how)),
    );
    assert.ok(['fine, fine the same', 'BACKUP_INVALID, BACKUP_INVALID '].includes(end), end);
    return end;
  },
});

hostile(import.meta.url, {
  name: 'a backup with a signed manifest of any content writes nothing outside the root',
  cases: jsonWounds,
  casesMin: 5,
  check: (how: readonly JsonWound[]) =>
    restore((backup) => {
      const manifest: unknown = JSON.parse(readFileSync(join(backup, 'manifest.json'), 'utf8'));
      const bytes = Buffer.from(woundedJson(manifest, how));
      writeFileSync(join(backup, 'manifest.json'), bytes);
      writeFileSync(join(backup, 'manifest.sig'), signManifest(bytes, keys));
      writeFileSync(join(backup, '.complete'), completeMark('one', bytes));
    }),
});
