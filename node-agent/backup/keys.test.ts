import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { backupKeyDamage, loadOrCreateBackupKeys, openBackupKeys } from './keys.js';

const work = mkdtempSync(join(tmpdir(), 'plexi-keys-'));
after(() => rmSync(work, { recursive: true, force: true }));

describe('the backup keys', () => {
  test('are made once, private, and read again', async () => {
    const folder = mkdtempSync(join(work, 'keys-'));
    assert.equal(await backupKeyDamage(folder), undefined);
    assert.deepEqual(readdirSync(folder), [], 'looking makes none');
    const [first, second] = await Promise.all([
      loadOrCreateBackupKeys(folder),
      loadOrCreateBackupKeys(folder),
    ]);
    assert.equal(first.ageIdentity, second.ageIdentity);
    assert.ok(first.signingKey.equals(second.signingKey));
    assert.equal(await backupKeyDamage(folder), undefined);
    const third = await loadOrCreateBackupKeys(folder);
    assert.equal(third.ageRecipient, first.ageRecipient);
    const modes = spawnSync('stat', ['-c', '%a %n', ...readdirSync(folder)], {
      cwd: folder,
      encoding: 'utf8',
    });
    assert.equal(modes.stdout, '600 backup-sign.key\n600 backup.age\n');
  });

  test('that cannot be understood are left alone, with a sentence', async () => {
    for (const file of ['backup.age', 'backup-sign.key']) {
      const folder = mkdtempSync(join(work, 'keys-'));
      await loadOrCreateBackupKeys(folder);
      chmodSync(join(folder, file), 0o600);
      for (const bytes of [Buffer.alloc(80), Buffer.alloc(0), Buffer.alloc(20_000, 'x')]) {
        writeFileSync(join(folder, file), bytes);
        await assert.rejects(loadOrCreateBackupKeys(folder), {
          code: 'BACKUP_INVALID',
          message: new RegExp(file),
        });
        assert.ok(readFileSync(join(folder, file)).equals(bytes));
        const { damage } = await openBackupKeys(folder);
        assert.match(damage?.message ?? '', new RegExp(file));
        assert.equal((await backupKeyDamage(folder))?.message, damage?.message);
      }
    }
  });
});
