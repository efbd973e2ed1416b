/**
 * For the tests of backups: a tree with everything that is hard to bring back, a full listing of one
 * (made by other means than the backup's own walk), and a small backup to damage.
 */
import { createHash, randomBytes } from 'node:crypto';
import {
  chmodSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { type BackupOrder, createBackup } from './create.js';
import type { BackupKeys } from './keys.js';

/** Names that have broken one archiver or another. */
export const oddNames = [
  'with space',
  ' leading and trailing ',
  '-rf',
  '--checkpoint-action=exec=sh',
  'line\nbreak',
  'tab\tand "quotes" \'and\' \\backslash',
  '*?[glob]$(date)`x`;&|',
  'ünïcødé 名前 🎉',
  'e\u0301 is not \u00e9',
  'é is not e\u0301',
  '.hidden',
  '...',
  'C:colon',
  'PaxHeader',
  '100% =equal',
  'n'.repeat(255),
];

/** Fills `root/data` and `root/config`. */
export function makeHardTree(root: string, bigBytes = 3 * 1024 * 1024 + 17): void {
  const put = (path: string, content: string | Buffer, mode = 0o644) => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), content);
    chmodSync(join(root, path), mode);
  };
  for (const [index, name] of oddNames.entries()) put(`data/odd/${name}`, `content ${index}`);
  put('data/zero', '');
  put('data/block-511', 'x'.repeat(511));
  put('data/block-512', 'x'.repeat(512));
  put('data/block-513', 'x'.repeat(513));
  put('data/big', randomBytes(bigBytes));
  put('data/text', 'the same line again\n'.repeat(100_000));
  put('data/secret', 'secret', 0o600);
  put('data/unreadable', 'no bits', 0o000);
  put('data/program', '#!/bin/sh\n', 0o755);
  put('data/setuid', 'x', 0o4755);
  put(`data/${'long-folder-name-of-forty-characters-xxx/'.repeat(20)}deep`, 'deep');
  put('config/service.yml', 'port: 1\n');
  mkdirSync(join(root, 'data/empty/also empty'), { recursive: true });
  mkdirSync(join(root, 'data/private'), { mode: 0o700 });
  mkdirSync(join(root, 'data/shared'));
  chmodSync(join(root, 'data/shared'), 0o3777);
  put('data/read-only/file', 'x', 0o444);
  chmodSync(join(root, 'data/read-only'), 0o555);
  symlinkSync('zero', join(root, 'data/link'));
  symlinkSync('../../outside', join(root, 'data/link to nowhere'));
  symlinkSync('/etc/passwd', join(root, 'data/absolute-link'));
  symlinkSync('empty', join(root, 'data/link-to-folder'));
  symlinkSync(`${'t'.repeat(200)}/é`, join(root, 'data/link-with-a-long-target'));
  setTimes(root, 'data');
  setTimes(root, 'config');
}

/** Different times everywhere, some with fractions, folders included. */
function setTimes(root: string, path: string): void {
  const full = join(root, path);
  const facts = lstatSync(full);
  if (facts.isDirectory()) for (const name of readdirSync(full)) setTimes(root, `${path}/${name}`);
  const time = 1_000_000_000 + (createHash('sha256').update(path).digest().readUInt32BE() % 700_000_000);
  if (facts.isSymbolicLink()) lutimesSync(full, time, time + 0.123);
  else utimesSync(full, time, time + 0.987654);
}

/** Every entry below `root/paths`, one line each: whatever differs, the lists differ. */
export function listing(root: string, paths: readonly string[] = ['data', 'config']): string[] {
  const lines: string[] = [];
  const look = (path: string) => {
    const full = join(root, path);
    const facts = lstatSync(full, { bigint: true, throwIfNoEntry: false });
    if (facts === undefined) return;
    const content = facts.isFile()
      ? createHash('sha256').update(readFileSync(full)).digest('hex')
      : facts.isSymbolicLink()
        ? `-> ${readlinkSync(full)}`
        : 'folder';
    const time = facts.mtimeNs / 1_000n;
    lines.push(
      `${JSON.stringify(path)} ${facts.mode.toString(8)} ${facts.uid}:${facts.gid} ${time} ${content}`,
    );
    if (facts.isDirectory()) for (const name of readdirSync(full)) look(`${path}/${name}`);
  };
  for (const path of paths) look(path);
  return lines.sort();
}

/** The order for a backup of `root/data` and `root/config`, with the id `one`. */
export function orderFor(root: string, keys: BackupKeys, change: Partial<BackupOrder> = {}): BackupOrder {
  return {
    root,
    paths: ['data', 'config'],
    directory: 'backups',
    id: 'one',
    version: '0a1',
    node: 'node-1',
    rollout: 'update_0a1_0b1_20241219_120000',
    encryption: true,
    keys,
    createdAt: '2024-12-19T12:00:00.000Z',
    ...change,
  };
}

/** Makes a small tree and a backup of it, and returns the backup's folder. */
export async function smallBackup(root: string, keys: BackupKeys): Promise<string> {
  mkdirSync(join(root, 'data/sub'), { recursive: true });
  writeFileSync(join(root, 'data/messages'), 'hello\n'.repeat(50_000));
  writeFileSync(join(root, 'data/sub/random'), randomBytes(200_000));
  mkdirSync(join(root, 'config'));
  writeFileSync(join(root, 'config/service.yml'), 'port: 1\n');
  return (await createBackup(orderFor(root, keys))).backupDir;
}
