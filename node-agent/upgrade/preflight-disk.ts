/**
 * Room on the disks of a node, before anything is touched: releases, backups and data may lie on
 * filesystems of their own, and each must hold what will land on it, the way back included, with room left
 * over.
 */
import { stat, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { limits } from '../../config/limits.js';
import type { Failure, PreflightStep } from '../../gen/plexi/v1/node_agent.js';
import { treeSizeBytes } from '../backup/create.js';
import { isSystemError } from '../disk/durable-file.js';
import type { AgentNode } from '../node.js';

const mebibyte = 1024 * 1024;

interface Filesystem {
  /** A folder on it that exists. */
  readonly folder: string;
  /** What is written there, for people. */
  readonly uses: string[];
  neededBytes: number;
}

/** Each filesystem that is short, with what it must hold. */
export async function diskProblems(node: AgentNode, order: PreflightStep): Promise<Failure[]> {
  const found: Failure[] = [];
  for (const { folder, uses, neededBytes } of await filesystems(node, order)) {
    const { bavail, bsize } = await statfs(folder);
    const freeBytes = bavail * bsize;
    const enoughBytes = neededBytes + limits.freeDiskBytes;
    if (freeBytes >= enoughBytes) continue;
    found.push({
      code: 'PREFLIGHT_FAILED',
      message: `${node.config.node} has ${Math.floor(freeBytes / mebibyte)} MB free under ${folder} (${uses.join(', ')}) and needs ${Math.ceil(enoughBytes / mebibyte)} MB; make room there`,
    });
  }
  return found;
}

/** The filesystems that an upgrade writes to, each once. */
async function filesystems(node: AgentNode, order: PreflightStep): Promise<Filesystem[]> {
  const { root, releases } = node.paths;
  const backupBytes = order.backup ? await treeSizeBytes(root, await pathsBeside(node)) : 0;
  const writes = [
    // The way back unpacks the backup beside the live data, which may be migrated and stays until then.
    { path: root, use: 'state', bytes: backupBytes },
    // The contract's number. Unpacked it is once; the rest is for what the new release writes.
    { path: releases, use: 'releases', bytes: 2 * Number(order.unpackedBytes) },
    ...node.config.backup.paths.map((path) => ({ path: join(root, path), use: path, bytes: 0 })),
  ];
  if (order.backup) {
    const path = join(root, order.backupPolicy?.directory ?? '');
    writes.push({ path, use: 'backups', bytes: backupBytes });
  }
  const byDevice = new Map<number, Filesystem>();
  for (const { path, use, bytes } of writes) {
    const { folder, device } = await nearest(path);
    const filesystem = byDevice.get(device) ?? { folder, uses: [], neededBytes: 0 };
    filesystem.uses.push(use);
    filesystem.neededBytes += bytes;
    byDevice.set(device, filesystem);
  }
  return [...byDevice.values()];
}

/** The path itself, or the first folder above it that exists. */
async function nearest(path: string): Promise<{ folder: string; device: number }> {
  const device = await deviceOf(path);
  return device === undefined ? nearest(dirname(path)) : { folder: path, device };
}

/** Going back swaps a whole folder by rename, which a mount point does not allow. */
export async function mountProblems(node: AgentNode, order: PreflightStep): Promise<Failure[]> {
  if (!order.backup) return [];
  const beside = await pathsBeside(node);
  return node.config.backup.paths
    .filter((path) => !beside.includes(path))
    .map((path) => ({
      code: 'PREFLIGHT_FAILED',
      message: `${path} on ${node.config.node} is a filesystem of its own; mount the node's root there instead`,
    }));
}

/** What is backed up and lies on the filesystem of the node's root, or does not exist yet. */
async function pathsBeside({ paths, config }: AgentNode): Promise<string[]> {
  const rootDevice = await deviceOf(paths.root);
  const found: string[] = [];
  for (const path of config.backup.paths) {
    const device = await deviceOf(join(paths.root, path));
    if (device === undefined || device === rootDevice) found.push(path);
  }
  return found;
}

async function deviceOf(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).dev;
  } catch (thrown) {
    if (isSystemError(thrown, 'ENOENT')) return undefined;
    throw thrown;
  }
}
