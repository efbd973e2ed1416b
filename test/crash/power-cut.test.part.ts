/**
 * A node whose root is an ext4 filesystem of its own, on a file. The agent stands still before each journal
 * record and when it has become durable, and at that moment the file is copied: what was not flushed is in the memory
 * of the running filesystem and not in the file, so the copy is what a power cut leaves. Later each copy is
 * mounted in the place of the root (ext4 replays its journal), an agent starts on it, and the node must be
 * old or new. A killed process keeps its page cache, so only this finds a missing flush.
 *
 * What it does not model: a disk that loses what it has confirmed, or its own cache out of order.
 */
import { execFile, spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { bootedAtMs } from '../../node-agent/disk/boot-file.js';
import { bootId } from '../../node-agent/service/process-table.js';
import { AgentLife, configOf } from './agent-life.test.part.js';
import { CrashBench, endAllOf } from './crash-bench.test.part.js';
import { whatIsWrong } from './old-or-new.test.part.js';
import { Tracer } from './strace.test.part.js';
import type { Tried } from './system-calls.test.part.js';

const run = promisify(execFile);

/**
 * Nothing is written back by itself within a try, and a rename flushes no file that its writer did not.
 * `commit`: seconds between two commits of the filesystem's own.
 */
const mountOptions = 'loop,commit=300,noauto_da_alloc';

/** Milliseconds within which a filesystem must come free. */
const busyMaxMs = 10_000;

/** Why the harness cannot run here; undefined when it can. */
export function whyNoMount(): string | undefined {
  if (process.getuid?.() !== 0) return 'mounting needs root';
  const missing = ['mkfs.ext4', 'mount', 'umount'].find(
    (tool) => spawnSync(tool, ['-V']).error !== undefined,
  );
  if (missing !== undefined) return `${missing} is not installed`;
  const loop = spawnSync('losetup', ['-f']);
  return loop.status === 0 ? undefined : 'there is no loop device';
}

/** The disk as it was at a record of the job. */
interface Copy {
  /** Records that are durable then. */
  readonly durable: number;
  readonly image: string;
}

export class PowerCuts {
  private readonly mounted = new Set<string>();

  private constructor(
    readonly bench: CrashBench,
    private readonly image: string,
    private readonly root: string,
  ) {}

  static async create(): Promise<PowerCuts> {
    const bench = await CrashBench.create();
    const root = join(bench.folder, 'disk');
    const cuts = new PowerCuts(bench, join(bench.folder, 'template.img'), root);
    await run('truncate', ['-s', '24M', cuts.image]);
    await run('mkfs.ext4', ['-q', '-F', '-b', '1024', '-J', 'size=2', '-d', bench.template, cuts.image]);
    mkdirSync(root);
    return cuts;
  }

  async remove(): Promise<void> {
    await endAllOf(this.root);
    // Lazily, because this is the way out of a failure as well.
    for (const root of this.mounted) await run('umount', ['-l', root]);
    await this.bench.remove();
  }

  /**
   * An upgrade, or one that goes back, with copies of the disk at every record.
   * @param withoutFlushes the flushes of the agent do nothing: a planted bug, which must be found
   */
  async copies(to: '0b1' | '0b2', withoutFlushes = false): Promise<Copy[]> {
    const { bench, root } = this;
    const image = join(bench.folder, `${to}.img`);
    copyFileSync(this.image, image);
    await this.mount(image, root);
    const driver = await bench.driver();
    const { repository } = bench;
    await driver.ask({ do: 'prepare', root, repository, command: bench.order(to), stops: true });
    await run('sync', ['-f', root]);
    const fault = { kind: 'nothing' } as const;
    const point = { thread: 'pool', call: 'fsync,fdatasync', nth: 1 } as const;
    const pool = { thread: 'pool', tid: driver.threads.pool, log: `${root}.pool` } as const;
    const tracer = withoutFlushes ? await Tracer.attach({ ...pool, fault: { point, fault } }) : undefined;
    const copies: Copy[] = [];
    let answer = await driver.ask({ do: 'obey' });
    for (; answer !== undefined && 'record' in answer; answer = await driver.ask('')) {
      const durable = answer.record - (answer.isDurable ? 0 : 1);
      const copy = { durable, image: `${image}.${copies.length}` };
      copyFileSync(image, copy.image);
      copies.push(copy);
    }
    await tracer?.end(root);
    await driver.end('kill');
    await endAllOf(root);
    await this.unmount(root);
    return copies;
  }

  /** The power comes back. */
  async recover({ durable, image }: Copy): Promise<Tried> {
    const { bench, root } = this;
    const what = `${basename(image)}: power cut with ${durable} durable records`;
    await this.mount(image, root);
    let life: AgentLife | undefined;
    try {
      const there = readdirSync(join(root, 'agent', 'journal')).filter((name) => name.endsWith('.json'));
      if (there.length < durable)
        return { what, hit: image, wrong: [`of ${durable} durable records ${there.length} are on the disk`] };
      makeOfEarlierBoot(join(root, 'run', 'service.json'));
      life = await AgentLife.begin(configOf(root, bench.repository));
      const ended = await life.recover();
      await life.end();
      const wrong = ended.asks === undefined ? [] : [`it asks for an operator: ${ended.asks.message}`];
      return { what, hit: image, wrong: [...wrong, ...(await whatIsWrong(root, bench.releases, ended))] };
    } finally {
      await life?.end();
      await endAllOf(root);
      await this.unmount(root);
    }
  }

  private async mount(image: string, root: string): Promise<void> {
    await run('mount', ['-o', mountOptions, image, root]);
    this.mounted.add(root);
  }

  /** A process that was just killed still holds its files while the system takes it apart. */
  private async unmount(root: string): Promise<void> {
    const untilMs = performance.now() + busyMaxMs;
    for (;;) {
      try {
        await run('umount', [root]);
        break;
      } catch (thrown) {
        if (performance.now() > untilMs) throw thrown;
        await sleep(50);
      }
    }
    this.mounted.delete(root);
  }
}

/**
 * What a start of the machine does to a file of the boot before: it is older than the boot, and names
 * another one, if anything is left in it.
 */
function makeOfEarlierBoot(file: string): void {
  if (!existsSync(file)) return;
  const text = readFileSync(file, 'utf8');
  writeFileSync(file, text.replace(bootId(), 'the boot before'));
  const before = new Date(bootedAtMs() - 1_000);
  utimesSync(file, before, before);
}
