import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chownSync,
  existsSync,
  lutimesSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, describe, test } from 'node:test';
import { type BackupOrder, createBackup } from './create.js';
import { listing, makeHardTree, orderFor } from './hard-tree.test.fixture.js';
import { AGE_KEY_FILE, loadOrCreateBackupKeys } from './keys.js';
import { restoreBackup } from './restore.js';

const work = mkdtempSync(join(tmpdir(), 'plexi-backup-'));
after(() => rmSync(work, { recursive: true, force: true }));
const identity = join(work, 'identity');
mkdirSync(identity);
const keys = await loadOrCreateBackupKeys(identity);

let root = '';
beforeEach(() => {
  root = mkdtempSync(join(work, 'root-'));
});

const orderOf = (change: Partial<BackupOrder> = {}) => orderFor(root, keys, change);

describe('a backup and its restore', () => {
  for (const encryption of [true, false]) {
    test(`bring a hard tree back in every detail (${encryption ? 'encrypted' : 'not encrypted'})`, async () => {
      makeHardTree(root);
      if (process.geteuid?.() === 0) chownSync(join(root, 'data/secret'), 12_345, 54_321);
      const before = listing(root);
      const percents: number[] = [];
      const { backupDir, manifest } = await createBackup(
        orderOf({ encryption, onProgress: (percent) => void percents.push(percent) }),
      );
      assert.deepEqual(listing(root), before);
      assert.equal(percents.at(-1), 100);
      assert.equal(manifest.files.length, before.length);
      const archive = encryption ? 'archive.tar.gz.age' : 'archive.tar.gz';
      assert.deepEqual(readdirSync(backupDir).sort(), [
        '.complete',
        archive,
        'manifest.json',
        'manifest.sig',
      ]);
      rmSync(join(root, 'data/odd'), { recursive: true });
      writeFileSync(join(root, 'data/zero'), 'no more');
      rmSync(join(root, 'config'), { recursive: true });
      await restoreBackup({ root, backupDir, keys, id: 'one' });
      assert.deepEqual(listing(root), before);
      assert.deepEqual(readdirSync(root).sort(), ['backups', 'config', 'data']);
    });
  }

  test('a path that was absent is absent again, a single file and a deep path come back', async () => {
    mkdirSync(join(root, 'var/lib/app'), { recursive: true });
    writeFileSync(join(root, 'var/lib/app/db'), 'db');
    writeFileSync(join(root, 'settings.ini'), 'a=1');
    utimesSync(join(root, 'settings.ini'), 1_500_000_000, 1_500_000_000.25);
    const paths = ['var/lib/app', 'settings.ini', 'config'];
    const before = listing(root, paths);
    const { backupDir, manifest } = await createBackup(orderOf({ paths }));
    assert.deepEqual(manifest.paths.at(-1), { path: 'config', present: false });
    rmSync(join(root, 'var'), { recursive: true });
    writeFileSync(join(root, 'settings.ini'), 'a=2');
    mkdirSync(join(root, 'config/new'), { recursive: true });
    await restoreBackup({ root, backupDir, keys, id: 'one' });
    assert.deepEqual(listing(root, paths), before);
    assert.equal(existsSync(join(root, 'config')), false);
  });

  test('times before 1970 and owners of links come back', async () => {
    mkdirSync(join(root, 'data'));
    writeFileSync(join(root, 'data/old'), '');
    symlinkSync('old', join(root, 'data/link'));
    utimesSync(join(root, 'data/old'), new Date(-86_400_500), new Date(-86_400_500));
    lutimesSync(join(root, 'data/link'), 5, 5);
    const before = listing(root);
    const { backupDir } = await createBackup(orderOf());
    rmSync(join(root, 'data'), { recursive: true });
    await restoreBackup({ root, backupDir, keys, id: 'one' });
    assert.deepEqual(listing(root), before);
  });

  test('the age program and tar open the archive, and find the same', async (t) => {
    if (spawnSync('age', ['--version']).error !== undefined) {
      console.log('age is not installed: that it opens our archives was not tried');
      return t.skip('age is not installed');
    }
    makeHardTree(root, 200_000);
    const { backupDir } = await createBackup(orderOf());
    const out = mkdtempSync(join(work, 'out-'));
    const archive = join(backupDir, 'archive.tar.gz.age');
    const plain = spawnSync('age', ['-d', '-i', join(identity, AGE_KEY_FILE), archive], {
      maxBuffer: 1 << 28,
    });
    assert.equal(plain.status, 0, plain.stderr.toString());
    const tar = spawnSync('tar', ['-xzpf', '-', '-C', out], { input: plain.stdout });
    assert.equal(tar.status, 0, tar.stderr.toString());
    // A tar has whole seconds only.
    const withoutTime = (lines: string[]) => lines.map((line) => line.replace(/ \d{15,} /, ' '));
    assert.deepEqual(withoutTime(listing(out)), withoutTime(listing(root)));
  });

  test('an archive of the age program is opened by ours', async (t) => {
    if (spawnSync('age', ['--version']).error !== undefined) return t.skip('age is not installed');
    const { decrypt } = await import('./seal.js');
    for (const sizeBytes of [0, 1, 65_535, 65_536, 65_537, 131_072, 1_000_000]) {
      const plain = randomBytes(sizeBytes);
      const sealed = spawnSync('age', ['-r', keys.ageRecipient], { input: plain, maxBuffer: 1 << 28 }).stdout;
      const opened: Buffer[] = [];
      for await (const piece of decrypt(piecesOf(sealed), keys.ageIdentity)) opened.push(piece);
      assert.ok(Buffer.concat(opened).equals(plain), `${sizeBytes} bytes`);
    }
  });

  test('nothing readable of the data is on the disk beside the data itself', async () => {
    mkdirSync(join(root, 'data'));
    writeFileSync(join(root, 'data/secret'), 'PLAINTEXT-MARK'.repeat(1_000));
    await createBackup(orderOf());
    const found = spawnSync('grep', ['-rlaz', 'PLAINTEXT-MARK', join(root, 'backups')], { encoding: 'utf8' });
    assert.equal(found.stdout, '');
    const archive = readFileSync(join(root, 'backups/one/archive.tar.gz.age'));
    assert.match(archive.subarray(0, 40).toString('latin1'), /^age-encryption\.org\/v1\n-> X25519 /);
  });
});

async function* piecesOf(bytes: Buffer): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += 10_007) yield bytes.subarray(at, at + 10_007);
}
