/**
 * The host that the real code believes to run on: its timers are those of the clock, and its one folder
 * of releases is listed at once. Put in place for one history, and taken away after it. Nothing here
 * waits for real time, nor for the thread pool, whose order nobody can repeat.
 */
import files, {
  type Dirent,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  type StatSyncOptions,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import filesystem from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import timers from 'node:timers/promises';
import { type NodePaths, nodePaths } from '../../node-agent/node.js';
import { printManifest } from '../../release/manifest.js';
import { completeMark } from '../../release/plain-path.js';
import { releaseFolderName } from '../../release/repository/installed.js';
import { manifestSha256 } from '../../release/repository/verify.js';
import { sampleManifest } from '../../release/sample-release.test.part.js';
import { releaseAt } from '../scenarios/sample-plan.test.part.js';
import type { Clock, Due } from './clock.test.part.js';

/** Intervals shorter than this only look at the time, and wake nobody most of the time; they look this often. */
const lightIntervalMs = 200;

/** A leader looks at its deadlines five times a second; here once, which costs a fifth and changes no order. */
const tickMs = 1_000;

/** Runs a history with the clock in the place of the host's. */
export async function onClock<T>(clock: Clock, work: () => Promise<T>): Promise<T> {
  const abort = AbortController.prototype.abort;
  const restore = [
    // Whoever listens goes on in its own process, and at once.
    replace(AbortController.prototype, 'abort', function heard(this: AbortController, reason?: unknown) {
      clock.isUrgent = true;
      abort.call(this, reason);
    }),
    replace(globalThis, 'setTimeout', (run: () => void, ms = 0) => timerOf(clock.after(ms, run))),
    replace(globalThis, 'setInterval', (run: () => void, ms = 0) => interval(clock, run, ms)),
    replace(globalThis, 'clearTimeout', cancel),
    replace(globalThis, 'clearInterval', cancel),
    replace(AbortSignal, 'timeout', (ms: number) => {
      const over = new AbortController();
      clock.after(ms, () => over.abort(new DOMException('The operation timed out', 'TimeoutError')));
      return over.signal;
    }),
    replace(timers, 'setTimeout', (ms = 0, _value?: unknown, options?: { signal?: AbortSignal }) =>
      clock.sleep(ms, options?.signal),
    ),
    replace(filesystem, 'readdir', listed),
    replace(files, 'readlinkSync', (path: string) => links.get(path) ?? readlinkSync(path)),
    replace(files, 'statSync', (path: string, options: StatSyncOptions) => statOf(path, options)),
  ];
  syncBuiltinESMExports();
  try {
    return await work();
  } finally {
    for (const put of restore) put();
    syncBuiltinESMExports();
  }
}

interface Timer {
  cancel(): void;
  unref(): Timer;
  ref(): Timer;
}

function timerOf(due: Due): Timer {
  const timer: Timer = {
    cancel: () => {
      due.isCancelled = true;
    },
    unref: () => timer,
    ref: () => timer,
  };
  return timer;
}

function interval(clock: Clock, run: () => void, askedMs: number): Timer {
  let isOver = false;
  const isLight = askedMs < lightIntervalMs;
  const ms = isLight ? lightIntervalMs : Math.max(askedMs, tickMs);
  const again = (): void => {
    if (isOver) return;
    clock.after(ms, again, clock.running, isLight);
    run();
  };
  clock.after(ms, again, clock.running, isLight);
  const timer: Timer = {
    cancel: () => {
      isOver = true;
    },
    unref: () => timer,
    ref: () => timer,
  };
  return timer;
}

function cancel(timer: Timer | undefined): void {
  timer?.cancel();
}

function replace(owner: object, name: string, by: unknown): () => void {
  const before: unknown = Reflect.get(owner, name);
  Reflect.set(owner, name, by);
  return () => Reflect.set(owner, name, before);
}

export const versions = { old: '0a1', new: '0b1' } as const;
export type Side = keyof typeof versions;

const root = mkdtempSync(join(tmpdir(), 'plexi-simulation-'));
process.once('exit', () => rmSync(root, { recursive: true, force: true }));
for (const side of ['old', 'new'] as const) {
  const { version, digest } = releaseAt(versions[side]);
  const folder = releaseFolderName(version, digest);
  const manifest = printManifest(sampleManifest(version));
  mkdirSync(join(root, 'releases', folder), { recursive: true });
  writeFileSync(join(root, 'releases', `${folder}.manifest.json`), manifest);
  const mark = { version, treeDigest: digest, manifestSha256: manifestSha256(manifest) };
  writeFileSync(join(root, 'releases', folder, completeMark), JSON.stringify(mark));
  symlinkSync(join('releases', folder), join(root, side));
}

/** The folders of a node that runs one of the two releases; they are never written. */
export const pathsAt: Readonly<Record<Side, NodePaths>> = {
  old: { ...nodePaths(root), current: join(root, 'old') },
  new: { ...nodePaths(root), current: join(root, 'new') },
};

const releases: readonly Dirent[] = readdirSync(join(root, 'releases'), { withFileTypes: true });

// What is asked of these folders at every status; nothing in them ever changes.
const { readlinkSync, statSync } = files;
const links = new Map([pathsAt.old, pathsAt.new].map(({ current }) => [current, readlinkSync(current)]));
const stats = new Map<string, unknown>();

function statOf(path: string, options: StatSyncOptions): unknown {
  if (!path.startsWith(root)) return statSync(path, options);
  const name = `${path} ${options.bigint}`;
  if (!stats.has(name)) stats.set(name, statSync(path, options));
  return stats.get(name);
}

function listed(folder: string): Promise<readonly Dirent[]> {
  if (folder === join(root, 'releases')) return Promise.resolve(releases);
  return Promise.reject(new Error(`no simulated node has a folder ${folder}`));
}
