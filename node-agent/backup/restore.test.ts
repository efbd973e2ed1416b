import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, describe, test } from 'node:test';
import { loader } from '../../test/loader.test.part.js';
import { listing, smallBackup } from './hard-tree.test.fixture.js';
import { loadOrCreateBackupKeys } from './keys.js';
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

/** What a failed upgrade may have done to the data. */
function ruin(): void {
  rmSync(join(root, 'config'), { recursive: true, force: true });
  writeFileSync(join(root, 'data/messages'), 'migrated');
  writeFileSync(join(root, 'data/new'), 'new');
  rmSync(join(root, 'data/sub'), { recursive: true, force: true });
  symlinkSync('/etc', join(root, 'data/sub'));
}

describe('restoring', () => {
  test('touches nothing live when the backup is damaged or the work is cancelled', async () => {
    const backupDir = await smallBackup(root, keys);
    ruin();
    const before = listing(root);
    const cancel = new AbortController();
    cancel.abort();
    const cancelled = restoreBackup({ root, backupDir, keys, id: 'one', signal: cancel.signal });
    await assert.rejects(cancelled, { code: 'CANCELLED' });
    const archive = join(backupDir, 'archive.tar.gz.age');
    const bytes = readFileSync(archive);
    bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
    writeFileSync(archive, bytes);
    await assert.rejects(restoreBackup({ root, backupDir, keys, id: 'one' }), { code: 'BACKUP_INVALID' });
    assert.deepEqual(listing(root), before);
    assert.deepEqual(readdirSync(root).sort(), ['backups', 'data'], 'what was unpacked keeps no room');
  });

  test('leaves nothing on a disk that was too full for it, and works once there is room', async (t) => {
    const disk = mkdtempSync(join(work, 'small-'));
    if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=16m', 'none', disk]).status !== 0)
      return t.skip('needs root');
    try {
      root = join(disk, 'root');
      mkdirSync(join(root, 'data'), { recursive: true });
      writeFileSync(join(root, 'data/big'), randomBytes(4 * 1024 * 1024));
      const backupDir = await smallBackup(root, keys);
      const wanted = listing(root);
      writeFileSync(join(root, 'data/messages'), 'migrated');
      writeFileSync(join(disk, 'filler'), randomBytes(6 * 1024 * 1024));
      await assert.rejects(restoreBackup({ root, backupDir, keys, id: 'one' }), {
        code: 'RESTORE_FAILED',
        message: /ENOSPC/,
      });
      assert.deepEqual(readdirSync(root).sort(), ['backups', 'config', 'data']);
      writeFileSync(join(root, 'record'), Buffer.alloc(64 * 1024), { flush: true });
      rmSync(join(root, 'record'));
      rmSync(join(disk, 'filler'));
      await restoreBackup({ root, backupDir, keys, id: 'one' });
      assert.deepEqual(listing(root), wanted);
    } finally {
      spawnSync('umount', [disk]);
    }
  });

  test('first removes what the restores of other jobs have left, where all of it is there again', async () => {
    const backupDir = await smallBackup(root, keys);
    ruin();
    const left = ['.restore-two', '.replaced-two-data', '.replaced-two-config', '.replaced-two-elsewhere'];
    for (const name of left) {
      mkdirSync(join(root, name));
      writeFileSync(join(root, name, 'file'), 'of another restore');
    }
    const bytes = readFileSync(join(backupDir, 'archive.tar.gz.age'));
    writeFileSync(join(backupDir, 'archive.tar.gz.age'), bytes.subarray(0, -1));
    await assert.rejects(restoreBackup({ root, backupDir, keys, id: 'one' }), { code: 'BACKUP_INVALID' });
    // Nothing stands where `config` and `elsewhere` belong: what was moved away may be the only one.
    assert.deepEqual(readdirSync(root).sort(), [
      '.replaced-two-config',
      '.replaced-two-elsewhere',
      'backups',
      'data',
    ]);
  });

  test('comes to the same end from wherever an earlier try stopped', async () => {
    const backupDir = await smallBackup(root, keys);
    const wanted = listing(root);
    const live = (path: string) => join(root, path);
    const replaced = (path: string) => join(root, `.replaced-one-${path}`);
    const stops: [string, () => void][] = [
      ['before anything', () => undefined],
      ['half unpacked', () => cpSync(live('data'), live('.restore-one/data'), { recursive: true })],
      ['the first path moved away', () => renameSync(live('data'), replaced('data'))],
      [
        'the first path restored, the replaced one still there',
        () => {
          cpSync(live('data'), replaced('data'), { recursive: true, verbatimSymlinks: true });
          rmSync(live('data/new'));
        },
      ],
      ['everything moved away', () => renameSync(live('data'), replaced('data'))],
    ];
    for (const [what, stop] of stops) {
      ruin();
      stop();
      await restoreBackup({ root, backupDir, keys, id: 'one' });
      assert.deepEqual(listing(root), wanted, what);
      assert.deepEqual(readdirSync(root).sort(), ['backups', 'config', 'data'], what);
    }
    await restoreBackup({ root, backupDir, keys, id: 'one' });
    assert.deepEqual(listing(root), wanted, 'once more');
  });

  test('killed at any moment and begun again, comes to the same end', async (t) => {
    if (spawnSync('strace', ['-V']).error !== undefined) return t.skip('strace is not installed');
    const backupDir = await smallBackup(root, keys);
    const wanted = listing(root);
    const program = `const { restoreBackup } = await import('${new URL('./restore.ts', import.meta.url).href}');
      const { loadOrCreateBackupKeys } = await import('${new URL('./keys.ts', import.meta.url).href}');
      const keys = await loadOrCreateBackupKeys('${identity}');
      await restoreBackup({ root: '${root}', backupDir: '${backupDir}', keys, id: 'one' });`;
    // strace counts by thread; with one in the pool, the renames are the first to the fourth.
    const env = { ...process.env, UV_THREADPOOL_SIZE: '1' };
    // One path after the other: away, in, away, in. Each time the next rename does not happen.
    for (const when of [1, 2, 3, 4]) {
      writeFileSync(join(root, 'data/messages'), 'migrated');
      rmSync(join(root, 'data/sub'), { recursive: true });
      writeFileSync(join(root, 'config/new'), 'new');
      const inject = ['-f', '-qq', '-e', 'trace=rename', '-e', `inject=rename:signal=KILL:when=${when}`];
      const words = [
        ...inject,
        '-o',
        '/dev/null',
        process.execPath,
        ...loader,
        '--input-type=module',
        '-e',
        program,
      ];
      const killed = spawnSync('strace', words, { encoding: 'utf8', env });
      assert.equal(killed.signal ?? killed.status, 'SIGKILL', `${killed.stdout}${killed.stderr}`);
      assert.equal(existsSync(join(root, 'config')), when !== 4);
      assert.equal(existsSync(join(root, 'data')), when !== 2);
      await restoreBackup({ root, backupDir, keys, id: 'one' });
      assert.deepEqual(listing(root), wanted, `killed at rename ${when}`);
      assert.deepEqual(readdirSync(root).sort(), ['backups', 'config', 'data']);
    }
  });
});
