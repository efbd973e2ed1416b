import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, describe, test } from 'node:test';
import { type BackupOrder, createBackup, treeSizeBytes } from './create.js';
import { makeHardTree, orderFor, smallBackup } from './hard-tree.test.fixture.js';
import { loadOrCreateBackupKeys } from './keys.js';
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

const orderOf = (change: Partial<BackupOrder> = {}) => orderFor(root, keys, change);

describe('making a backup', () => {
  test('is refused by name where something cannot come back, and leaves nothing', async () => {
    mkdirSync(join(root, 'data'), { recursive: true });
    const refusals: [string, () => void, RegExp][] = [
      ['pipe', () => spawnSync('mkfifo', [join(root, 'data/pipe')]), /data\/pipe is a pipe/],
      [
        'name',
        () => writeFileSync(Buffer.concat([Buffer.from(`${root}/data/`), Buffer.from([0xff, 0xfe])]), ''),
        /no UTF-8/,
      ],
      ['link', () => symlinkSync('/var', join(root, 'data')), /data is a link/],
    ];
    for (const [what, make, message] of refusals) {
      rmSync(join(root, 'data'), { recursive: true });
      if (what !== 'link') mkdirSync(join(root, 'data'));
      make();
      await assert.rejects(createBackup(orderOf()), { code: 'BACKUP_FAILED', message }, what);
      assert.deepEqual(readdirSync(join(root, 'backups')), []);
    }
  });

  test('is estimated while the service runs, and what can never work is refused then', async () => {
    makeHardTree(root, 1_000_000);
    spawnSync('mkfifo', [join(root, 'data/pipe')]);
    const sizes = spawnSync('find', [
      join(root, 'data'),
      join(root, 'config'),
      '-type',
      'f',
      '-printf',
      '%s\n',
    ]);
    const sum = sizes.stdout
      .toString()
      .trim()
      .split('\n')
      .map(Number)
      .reduce((a, b) => a + b, 0);
    assert.equal(await treeSizeBytes(root, ['data', 'config', 'absent']), sum);
    symlinkSync('data', join(root, 'linked'));
    await assert.rejects(treeSizeBytes(root, ['linked']), {
      code: 'BACKUP_FAILED',
      message: /linked is a link/,
    });
  });

  test('of another filesystem is refused', async (t) => {
    mkdirSync(join(root, 'data/mounted'), { recursive: true });
    if (spawnSync('mount', ['-t', 'tmpfs', 'none', join(root, 'data/mounted')]).status !== 0)
      return t.skip('needs root');
    try {
      await assert.rejects(createBackup(orderOf()), {
        code: 'BACKUP_FAILED',
        message: /mounted is on another filesystem/,
      });
    } finally {
      spawnSync('umount', [join(root, 'data/mounted')]);
    }
  });

  test('is refused for a socket', async () => {
    mkdirSync(join(root, 'data'));
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(join(root, 'data/socket'), resolve));
    await assert.rejects(createBackup(orderOf()), {
      code: 'BACKUP_FAILED',
      message: /data\/socket is a socket/,
    });
    server.close();
  });

  test('is refused when a file changes meanwhile', async () => {
    mkdirSync(join(root, 'data'));
    writeFileSync(join(root, 'data/a'), randomBytes(100_000));
    writeFileSync(join(root, 'data/b'), randomBytes(3_000_000));
    // The first file is read, the second one is not: now a service that should be stopped writes.
    const onProgress = () => appendFileSync(join(root, 'data/b'), 'x');
    await assert.rejects(createBackup(orderOf({ onProgress })), {
      code: 'BACKUP_FAILED',
      message: /data\/b changed while it was read; find out what still writes/,
    });
    assert.deepEqual(readdirSync(join(root, 'backups')), []);
  });

  test('can be cancelled, and leaves nothing', async () => {
    const cancel = new AbortController();
    mkdirSync(join(root, 'data'));
    for (const name of ['a', 'b', 'c']) writeFileSync(join(root, 'data', name), randomBytes(100_000));
    const order = orderOf({ signal: cancel.signal, onProgress: () => cancel.abort() });
    await assert.rejects(createBackup(order), { code: 'CANCELLED' });
    assert.deepEqual(readdirSync(join(root, 'backups')), []);
  });

  test('again with the same id gives the same backup; for something else it is refused', async () => {
    const backupDir = await smallBackup(root, keys);
    const archive = readFileSync(join(backupDir, 'archive.tar.gz.age'));
    writeFileSync(join(root, 'data/messages'), 'later');
    const again = await createBackup(orderOf({ createdAt: '2025-01-01T00:00:00.000Z' }));
    assert.equal(again.manifest.createdAt, '2024-12-19T12:00:00.000Z');
    assert.ok(readFileSync(join(backupDir, 'archive.tar.gz.age')).equals(archive));
    await assert.rejects(createBackup(orderOf({ version: '0b1' })), {
      code: 'BACKUP_FAILED',
      message: /another backup/,
    });
    await verifyBackup({ backupDir, keys, id: 'one' });
  });

  test('after a crash in the middle begins anew', async () => {
    const backupDir = await smallBackup(root, keys);
    rmSync(join(backupDir, '.complete'));
    writeFileSync(join(backupDir, 'archive.tar.gz.age.part'), 'half');
    await createBackup(orderOf());
    assert.equal(existsSync(join(backupDir, 'archive.tar.gz.age.part')), false);
  });

  test('an id that would leave the folder is refused', async () => {
    for (const id of ['../x', '', '.', '..', 'a/b', '.hidden']) {
      await assert.rejects(createBackup(orderOf({ id })), {
        code: 'BACKUP_FAILED',
        message: /name of a backup's folder/,
      });
    }
  });
});
