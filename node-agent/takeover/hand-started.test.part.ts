/**
 * A service that somebody started by hand: from a folder of its own, by a shell script that lives on
 * in a session of its own, and whose process group the service shares.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdir, readdir, readFile, readlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command, TakeOverStep } from '../../gen/plexi/v1/node_agent.js';
import { command, type TokenNumbers } from '../caller.test.part.js';
import { liveProcess } from '../service/process-table.js';
import type { TinyCluster, TinyNode } from '../tiny-node.test.part.js';
import { firstData } from '../tiny-service.test.part.js';

/** The script: it starts the service, says its process id, and outlives it. */
const script =
  '(cd "$1" && exec node "$2") </dev/null >/dev/null 2>&1 & echo $!; exec >/dev/null; wait; exec sleep 600';

/** What is said of a service that runs; the version is 3.0.0, from before the cluster's scheme. */
export interface HandStartedOptions {
  readonly version?: string;
  /** Where the files stand; a folder beside the node's root when it is not said. */
  readonly directory?: string;
  /** Leaves the files as they are. */
  readonly asItIs?: boolean;
  /** Started with the path of its program, from a folder that has nothing to do with it. */
  readonly fromElsewhere?: boolean;
  readonly env?: Record<string, string>;
}

export class HandStarted {
  private constructor(
    private readonly shell: ChildProcess,
    readonly pid: number,
    readonly directory: string,
  ) {}

  /** Starts it, and returns when it answers; both end with the test. */
  static async start(
    t: TestContext,
    cluster: TinyCluster,
    node: TinyNode,
    options: HandStartedOptions = {},
  ): Promise<HandStarted> {
    const { version = '3.0.0', env = {}, directory = `${node.config.root}-by-hand` } = options;
    if (options.asItIs !== true) await legacyFiles(cluster, directory, version);
    const words =
      options.fromElsewhere === true ? ['/', join(directory, 'server.mjs')] : [directory, 'server.mjs'];
    const shell = spawn('sh', ['-c', script, 'start', ...words], {
      cwd: '/',
      detached: true,
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { PATH: process.env.PATH ?? '', PORT: String(node.port), PLEXI_DATA_DIR: node.at('data'), ...env },
    });
    t.after(async () => {
      for (const pid of [started.pid, shell.pid ?? 0]) if (liveProcess(pid)) process.kill(pid, 'SIGKILL');
      if (shell.exitCode === null && shell.signalCode === null) await once(shell, 'exit');
    });
    const [line] = await once(shell.stdout, 'data');
    const started = new HandStarted(shell, Number(String(line)), directory);
    for (let tries = 0; (await node.serviceVersion()) === undefined; tries++) {
      assert.ok(tries < 500, 'the service that was started by hand does not answer');
      await sleep(20);
    }
    return started;
  }

  get lives(): boolean {
    return liveProcess(this.pid) !== undefined;
  }

  get scriptLives(): boolean {
    return liveProcess(this.shell.pid ?? 0) !== undefined;
  }

  async end(): Promise<void> {
    process.kill(this.pid, 'SIGKILL');
    for (let tries = 0; this.lives && tries < 500; tries++) await sleep(10);
    assert.equal(this.lives, false);
  }
}

/** The files of 0a1, which say that they are another version. */
async function legacyFiles(cluster: TinyCluster, directory: string, version: string): Promise<void> {
  await cp(join(cluster.folder, 'source', '0a1'), directory, { recursive: true });
  const facts = { version, format: 1, healthy: true };
  if (version !== '0a1') await writeFile(join(directory, 'release.json'), JSON.stringify(facts));
}

/** A node with nothing installed, and data that 0a1 and the older ones work on. */
export async function oldData(node: TinyNode): Promise<void> {
  await mkdir(node.at('data'), { recursive: true });
  await writeFile(node.at('data', 'notes.json'), firstData);
}

/** The order to take over. */
export function takeOver(id: string, token: TokenNumbers, changes: Partial<TakeOverStep> = {}): Command {
  const value = { version: '3.0.0', directory: '', confirm: false, reason: '', timeoutMs: 20_000n };
  return command(id, token, { $case: 'takeOver', value: { ...value, ...changes } });
}

/** All that a taking over could have changed, to be compared. */
export async function everythingOf(node: TinyNode): Promise<unknown> {
  const releases = (await readdir(node.at('releases'))).sort();
  const run = (await readdir(node.at('run'))).sort();
  const record = await readFile(node.at('run', 'service.json'), 'utf8').catch(() => undefined);
  const current = await readlink(node.at('current')).catch(() => undefined);
  return { releases, run, record, current, links: await node.links(), maintenance: node.isInMaintenance() };
}
