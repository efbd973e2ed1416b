/**
 * What the tries of a crash harness start from: releases, a node's root with 0a1 installed and the others
 * staged, and drivers (driver.test.part.ts) that are loaded before they are needed.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Command } from '../../gen/plexi/v1/node_agent.js';
import { openNode } from '../../node-agent/agent.js';
import { environment } from '../../node-agent/agent-node.test.part.js';
import { TinyPlan } from '../../node-agent/caller.test.part.js';
import { installRelease, stageFetched } from '../../node-agent/install.js';
import { findProcesses, type LiveProcess, signalTo } from '../../node-agent/service/process-table.js';
import type { TinyReleases } from '../../node-agent/tiny-service.test.part.js';
import { AgentLife, configOf } from './agent-life.test.part.js';
import type { DriverAnswer, DriverOrder } from './driver.test.part.js';
import { bundleDriver } from './driver-bundle.test.part.js';
import { buildSmallReleases, dataOf } from './small-releases.test.part.js';

/** Milliseconds for one answer of a driver: far beyond what it needs, so that a hanging one is told. */
const patienceMs = 15_000;

const run = promisify(execFile);

/** One process that is going to be killed, or that ended an order. */
export class Driver {
  private readonly answers: DriverAnswer[] = [];
  private wake: () => void = () => undefined;
  private errors = '';
  /** Undefined while it lives. */
  signal: NodeJS.Signals | 'none' | undefined;
  /** Ids of its two threads that call the system for the agent. */
  threads = { main: 0, pool: 0 };

  constructor(private readonly child: ChildProcess) {
    const { stdout, stderr } = child;
    if (stdout === null || stderr === null) throw new Error('a driver is started with pipes');
    createInterface(stdout).on('line', (line) => {
      this.answers.push(JSON.parse(line));
      this.wake();
    });
    stderr.setEncoding('utf8').on('data', (text: string) => {
      this.errors += text;
    });
    // It may be dead already; that is told by its end.
    child.stdin?.on('error', () => undefined);
    child.once('close', (_code, signal) => {
      this.signal = signal ?? 'none';
      this.wake();
    });
  }

  /** Sends an order, and returns the first answer; undefined when the driver died instead. */
  async ask(order: DriverOrder | ''): Promise<DriverAnswer | undefined> {
    this.child.stdin?.write(order === '' ? '-\n' : `${JSON.stringify(order)}\n`);
    return this.answer();
  }

  async answer(): Promise<DriverAnswer | undefined> {
    const endsMs = performance.now() + patienceMs;
    while (this.answers.length === 0 && this.signal === undefined) {
      const leftMs = endsMs - performance.now();
      if (leftMs <= 0) throw new Error(`the driver does not answer: ${this.errors}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, leftMs);
        this.wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    const answer = this.answers.shift();
    if (answer === undefined && this.signal !== 'SIGKILL')
      throw new Error(`the driver ended with ${this.signal}: ${this.errors}`);
    return answer;
  }

  async loaded(): Promise<void> {
    const answer = await this.answer();
    if (answer !== undefined && 'ready' in answer) this.threads = { main: answer.main, pool: answer.pool };
  }

  /** Resolves once it has ended; the end of its input ends one that waits. */
  async end(how: 'eof' | 'kill' = 'eof'): Promise<void> {
    if (this.signal !== undefined) return;
    const closed = once(this.child, 'close');
    if (how === 'kill') this.child.kill('SIGKILL');
    else this.child.stdin?.end();
    await closed;
  }
}

export class CrashBench {
  private readonly roots: string[] = [];
  private readonly drivers = new Set<Driver>();
  private spare: Driver | undefined;
  private count = 0;

  private constructor(
    readonly folder: string,
    readonly repository: string,
    readonly releases: TinyReleases,
    private readonly driverWords: readonly string[],
  ) {}

  static async create(): Promise<CrashBench> {
    const folder = await mkdtemp(join(tmpdir(), 'plexi-crash-'));
    const { repository, releases } = await buildSmallReleases(folder);
    const bench = new CrashBench(folder, repository, releases, await bundleDriver(folder));
    await bench.makeTemplate();
    return bench;
  }

  get template(): string {
    return join(this.folder, 'template');
  }

  /** A root of its own for one try. */
  async newRoot(): Promise<string> {
    const root = join(this.folder, `node-${++this.count}`);
    await run('cp', ['-a', this.template, root]);
    this.roots.push(root);
    return root;
  }

  /** The order to upgrade from 0a1, as JSON. */
  order(to: '0b1' | '0b2'): unknown {
    const order = new TinyPlan(this.releases, '0a1', to).upgrade(`to-${to}`, [1, 5, 7]);
    // 0b2 never gets healthy, so there is nothing to wait for.
    if (to === '0b2' && order.step?.$case === 'upgrade' && order.step.value.timeouts !== undefined)
      order.step.value.timeouts.probeMs = 150n;
    return Command.toJSON(order);
  }

  /** A loaded driver; the next one is loaded meanwhile. */
  async driver(): Promise<Driver> {
    const driver = this.spare ?? this.start();
    this.spare = this.start();
    await driver.loaded();
    return driver;
  }

  /** Ends what runs for a root, and removes it. */
  async discard(root: string): Promise<void> {
    await endAllOf(root);
    await rm(root, { recursive: true, force: true });
  }

  async remove(): Promise<void> {
    await Promise.all([...this.drivers].map((driver) => driver.end('kill')));
    for (const root of this.roots) await endAllOf(root);
    await rm(this.folder, { recursive: true, force: true });
  }

  private start(): Driver {
    const env = { ...process.env, UV_THREADPOOL_SIZE: '1' };
    const child = spawn(process.execPath, this.driverWords, { env, stdio: ['pipe', 'pipe', 'pipe'] });
    const driver = new Driver(child);
    this.drivers.add(driver);
    child.once('close', () => this.drivers.delete(driver));
    return driver;
  }

  private async makeTemplate(): Promise<void> {
    const config = configOf(this.template, this.repository);
    const life = await AgentLife.begin(config);
    await life.end();
    const node = await openNode(config, environment);
    await installRelease(node, '0a1');
    for (const version of ['0b1', '0b2'])
      await stageFetched(node, await node.repository.manifest(version), AbortSignal.timeout(patienceMs));
    for (const [path, content] of Object.entries(dataOf(1))) {
      await mkdir(dirname(join(this.template, 'data', path)), { recursive: true });
      await writeFile(join(this.template, 'data', path), content);
    }
    await node.closeLog();
  }
}

/** What runs with a root in its environment: services, hooks, migrations. */
export function processesOf(root: string): Promise<LiveProcess[]> {
  return findProcesses({ groups: new Set(), environmentText: `PLEXI_ROOT=${root}\0` });
}

/** Ends all of that; resolves once nothing is left. */
export async function endAllOf(root: string): Promise<void> {
  for (let left = await processesOf(root); left.length > 0; left = await processesOf(root)) {
    for (const { pid } of left) signalTo(pid, 'SIGKILL');
    await sleep(1);
  }
}
