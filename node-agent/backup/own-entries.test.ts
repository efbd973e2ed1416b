/**
 * An agent that is not root refuses, before anything is stopped, what it could not restore: what belongs to
 * another user or to a group that it is not in, and what it cannot read. What it can restore comes back.
 */
import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  lchownSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, describe, test } from 'node:test';
import { asPlainUser } from '../disk/plain-user.test.part.js';
import { createBackup, treeSizeBytes } from './create.js';
import { listing, orderFor } from './hard-tree.test.fixture.js';
import { loadOrCreateBackupKeys } from './keys.js';
import { restoreBackup } from './restore.js';

const skip = process.geteuid?.() === 0 ? false : 'only root can make the files of somebody else';
/** As `asPlainUser` has it. */
const own = 65_534;
const group = process.getegid?.() ?? 0;
const other = 1_234;
const work = mkdtempSync(join(tmpdir(), 'plexi-own-'));
chmodSync(work, 0o755);
after(() => rmSync(work, { recursive: true, force: true }));

let root = '';
const at = (path: string): string => join(root, path);
beforeEach(() => {
  root = mkdtempSync(join(work, 'root-'));
  for (const folder of ['data', 'data/sub', 'identity']) mkdirSync(at(folder));
  writeFileSync(at('data/sub/file'), 'content');
  symlinkSync('file', at('data/sub/link'));
  lchownSync(at('data/sub/link'), own, group);
  for (const path of ['data', 'data/sub', 'data/sub/file']) chownSync(at(path), own, group);
});

/** As the agent of a node with these files: it has another user, and the groups of this process. */
const asAgent = (work: () => Promise<void>): Promise<void> => asPlainUser([root, at('identity')], work);

async function order() {
  return orderFor(root, await loadOrCreateBackupKeys(at('identity')), { paths: ['data'] });
}

describe('an agent that is not root', { skip }, () => {
  const cases: Record<string, { make: () => void; message: RegExp }> = {
    'a file of another user': {
      make: () => chownSync(at('data/sub/file'), other, group),
      message:
        /data\/sub\/file belongs to user 1234, .* runs as user 65534 .*same user, or the agent as root$/,
    },
    'a file of a group that it is not in': {
      make: () => chownSync(at('data/sub/file'), own, other),
      message: /data\/sub\/file belongs to group 1234, which the agent's user 65534 is not in/,
    },
    'a link of another user': {
      make: () => lchownSync(at('data/sub/link'), other, other),
      message: /data\/sub\/link belongs to user 1234/,
    },
  };
  for (const [what, { make, message }] of Object.entries(cases))
    test(`backs up no ${what.slice(2)}, and says so beforehand`, async () => {
      make();
      await asAgent(async () => {
        await assert.rejects(treeSizeBytes(root, ['data']), { code: 'BACKUP_FAILED', message });
        await assert.rejects(createBackup(await order()), { code: 'BACKUP_FAILED', message });
      });
    });

  test('says beforehand what it cannot read', async () => {
    chmodSync(at('data/sub/file'), 0o000);
    await asAgent(() =>
      assert.rejects(treeSizeBytes(root, ['data']), {
        code: 'BACKUP_FAILED',
        message: /data\/sub\/file cannot be read by user 65534, as which the agent runs; give it the right/,
      }),
    );
    chmodSync(at('data/sub/file'), 0o600);
    chmodSync(at('data/sub'), 0o300);
    await asAgent(() =>
      assert.rejects(treeSizeBytes(root, ['data']), { message: /data\/sub cannot be read/ }),
    );
  });

  test('restores its own files, those and the links of its other groups too', async (t) => {
    const groups = process.getgroups?.() ?? [];
    process.setgroups?.([...groups, other]);
    t.after(() => process.setgroups?.(groups));
    lchownSync(at('data/sub/link'), own, other);
    chownSync(at('data/sub/file'), own, other);
    await asAgent(async () => {
      const backup = await order();
      assert.equal(await treeSizeBytes(root, ['data']), 'content'.length);
      const { backupDir } = await createBackup(backup);
      const wanted = listing(root, ['data']);
      writeFileSync(at('data/sub/file'), 'migrated');
      await restoreBackup({ root, backupDir, keys: backup.keys, id: backup.id });
      assert.deepEqual(listing(root, ['data']), wanted);
    });
  });
});
