import assert from 'node:assert/strict';
import { appendFileSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, describe, test } from 'node:test';
import { type BackupManifest, completeMark, manifestBytes, signManifest } from './backup-manifest.js';
import { smallBackup } from './hard-tree.test.fixture.js';
import { type BackupKeys, loadOrCreateBackupKeys } from './keys.js';
import { verifyBackup } from './verify.js';

const work = mkdtempSync(join(tmpdir(), 'plexi-backup-'));
after(() => rmSync(work, { recursive: true, force: true }));
const identity = join(work, 'identity');
mkdirSync(identity);
const keys = await loadOrCreateBackupKeys(identity);

let root = '';
beforeEach(() => {
  root = mkdtempSync(join(work, 'root-'));
});

describe('verifying', () => {
  test('finds every way to damage a backup', async () => {
    const good = await smallBackup(root, keys);
    const archive = 'archive.tar.gz.age';
    const other = await loadOrCreateBackupKeys(mkdtempSync(join(work, 'other-')));
    const sizeBytes = readFileSync(join(good, archive)).length;
    const flip = (name: string, at: number) => (dir: string) => {
      const bytes = readFileSync(join(dir, name));
      bytes[at] = (bytes[at] ?? 0) ^ 1;
      writeFileSync(join(dir, name), bytes);
    };
    const cut = (length: number) => (dir: string) =>
      writeFileSync(join(dir, archive), readFileSync(join(dir, archive)).subarray(0, length));
    const damages: [string, (dir: string) => void, BackupKeys][] = [
      ['archive missing', (dir) => rmSync(join(dir, archive)), keys],
      ['archive empty', cut(0), keys],
      ['archive cut by a byte', cut(sizeBytes - 1), keys],
      ['archive cut at a chunk', cut(sizeBytes - (sizeBytes % 65_552)), keys],
      ['archive longer', (dir) => appendFileSync(join(dir, archive), 'x'), keys],
      ['archive zero-filled', (dir) => writeFileSync(join(dir, archive), Buffer.alloc(sizeBytes)), keys],
      ['header changed', flip(archive, 60), keys],
      ['middle changed', flip(archive, sizeBytes >> 1), keys],
      ['end changed', flip(archive, sizeBytes - 1), keys],
      ['manifest changed', flip('manifest.json', 50), keys],
      ['manifest missing', (dir) => rmSync(join(dir, 'manifest.json')), keys],
      ['manifest zero-filled', (dir) => writeFileSync(join(dir, 'manifest.json'), Buffer.alloc(900)), keys],
      ['signature missing', (dir) => rmSync(join(dir, 'manifest.sig')), keys],
      ['signature changed', flip('manifest.sig', 20), keys],
      ['mark missing', (dir) => rmSync(join(dir, '.complete')), keys],
      ['mark empty', (dir) => writeFileSync(join(dir, '.complete'), ''), keys],
      ['signed by another node', () => undefined, { ...keys, verifyingKey: other.verifyingKey }],
      ['encrypted to another node', () => undefined, { ...keys, ageIdentity: other.ageIdentity }],
    ];
    for (const [what, damage, withKeys] of damages) {
      const dir = join(root, 'damaged');
      rmSync(dir, { recursive: true, force: true });
      cpSync(good, dir, { recursive: true });
      await verifyBackup({ backupDir: dir, keys, id: 'one' });
      damage(dir);
      await assert.rejects(
        verifyBackup({ backupDir: dir, keys: withKeys, id: 'one' }),
        { code: 'BACKUP_INVALID' },
        what,
      );
    }
    await assert.rejects(verifyBackup({ backupDir: good, keys, id: 'two' }), { code: 'BACKUP_INVALID' });
  });

  test('finds what a signed manifest says other than the archive', async () => {
    const dir = await smallBackup(root, keys);
    const original: BackupManifest = JSON.parse(readFileSync(join(dir, 'manifest.json'), 'utf8'));
    const changes: [RegExp, (manifest: BackupManifest) => void][] = [
      [/does not hold/, ({ files }) => void files.push(withPath(files, 'config/zz'))],
      [/not in the manifest/, ({ files }) => void files.pop()],
      [/listed twice/, ({ files }) => void files.push(withPath(files, 'config/service.yml'))],
      [/in none of its folders/, ({ files }) => void files.push(withPath(files, 'elsewhere/x'))],
      [/unknown shape/, ({ files }) => void files.push(withPath(files, 'data/../../x'))],
      [/unknown shape/, ({ files }) => void files.push(withPath(files, '/etc/x'))],
      [/mode/, ({ files }) => change(files, { mode: '4755' })],
      [/uid/, ({ files }) => change(files, { uid: 4_321 })],
      [/sizeBytes/, ({ files }) => change(files, { sizeBytes: 1 })],
      [/content of config\/service\.yml/, ({ files }) => change(files, { sha256: 'a'.repeat(64) })],
      [/not the file that was signed/, ({ archive }) => void Object.assign(archive, { sizeBytes: 1 })],
      [/said to be there/, ({ paths }) => void paths.push({ path: 'more', present: true })],
    ];
    for (const [message, alter] of changes) {
      const manifest = structuredClone(original);
      alter(manifest);
      const bytes = manifestBytes(manifest);
      writeFileSync(join(dir, 'manifest.json'), bytes);
      writeFileSync(join(dir, 'manifest.sig'), signManifest(bytes, keys));
      writeFileSync(join(dir, '.complete'), completeMark('one', bytes));
      await assert.rejects(verifyBackup({ backupDir: dir, keys, id: 'one' }), {
        code: 'BACKUP_INVALID',
        message,
      });
    }
  });
});

function withPath(files: BackupManifest['files'], path: string) {
  const last = files.at(-1);
  assert.ok(last);
  return { ...last, path };
}

function change(files: BackupManifest['files'], fields: Partial<BackupManifest['files'][number]>): void {
  Object.assign(files.at(-1) ?? {}, fields);
}
