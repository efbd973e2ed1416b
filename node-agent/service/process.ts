/**
 * The `process` adapter: the service is a process of its own session and group, writes to a file,
 * and outlives the agent (protocol.md, rule 14). Its identity is (pid, start time, boot id), and a
 * token in its environment (service-processes.ts), so it is found again and never runs twice.
 * A service must stay in the foreground; one that moves itself away is found by the token only.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { PlexiError } from '../../config/errors.js';
import { ensureFolder } from '../disk/durable-file.js';
import { type Adoption, endAdopted, startedAt } from './adopted-process.js';
import { type MonotonicClock, monotonicClock } from './clock.js';
import { endIsTold, endService, hasEnded } from './process-end.js';
import { bootId, liveProcess, startTicksOf } from './process-table.js';
import { withDescendants } from './process-tree.js';
import type { ServiceAdapter, ServiceDescription, ServiceSpec } from './service.js';
import { withServiceLog } from './service-log.js';
import { onlyServiceName, ServiceProcesses, tokenVariable } from './service-processes.js';
import {
  readServiceRecord,
  removeServiceRecord,
  type ServiceRecord,
  writeServiceRecord,
} from './service-record.js';
import { whyNotStarted } from './start-failure.js';

/** What is special about one service of a root; without it, it is the root's only one. */
export interface ProcessServiceOptions {
  readonly name?: string;
  /** Whose processes are left alone; see `ServicePlace`. Without it every process of the root is ended. */
  readonly allBut?: readonly string[] | 'unnamed';
  /** The words that start it, instead of the release's. */
  readonly start?: readonly string[] | undefined;
  /** Variables that only this service gets. */
  readonly env?: Readonly<Record<string, string>>;
  readonly clock?: MonotonicClock;
}

/** A service as a plain process, for one node's root. */
export class ProcessService implements ServiceAdapter {
  private readonly recordFile: string;
  private readonly logFile: string;
  private readonly runFolder: string;
  private readonly processes: ServiceProcesses;
  private readonly clock: MonotonicClock;
  /** The process that this very agent started; a later agent has none. */
  private child: ChildProcess | undefined;
  /**
   * A stop of this object has proved that nothing runs, and it has started nothing since. Whoever else
   * starts the service writes the record first: so as long as there is none, no search is needed.
   */
  private provedStopped = false;

  constructor(
    private readonly root: string,
    private readonly options: ProcessServiceOptions = {},
  ) {
    const { name = onlyServiceName, allBut = [], clock = monotonicClock } = options;
    this.runFolder = join(root, 'run');
    this.recordFile = join(this.runFolder, `${name}.json`);
    this.logFile = join(this.runFolder, `${name}.log`);
    this.processes = new ServiceProcesses({
      root,
      name,
      allBut: allBut === 'unnamed' ? undefined : allBut,
    });
    this.clock = clock;
  }

  async start(released: ServiceSpec): Promise<void> {
    const spec = this.ownSpec(released);
    await ensureFolder(this.runFolder, 0o755);
    await this.refuseWhenRunning();
    this.provedStopped = false;
    const starting = await this.newRecord(spec);
    writeServiceRecord(this.recordFile, starting);
    try {
      const { child, startTicks } = await this.spawnLogged(spec, starting.token);
      this.child = child;
      if (child.pid === undefined || startTicks === undefined) return;
      writeServiceRecord(this.recordFile, { ...starting, process: { pid: child.pid, startTicks } });
    } catch (error) {
      if (!(await this.isRunning())) removeServiceRecord(this.recordFile);
      throw startFailure(spec, error);
    }
  }

  async stop(timeoutMs: number): Promise<void> {
    const record = await readServiceRecord(this.recordFile);
    if (record === undefined && this.provedStopped) return;
    if (record?.adopted !== undefined) await endAdopted(record, timeoutMs, this.clock);
    const { processes, child, clock } = this;
    const left = await endService({ processes, record, child, clock }, timeoutMs);
    if (left.length > 0) {
      const pids = left.map(({ pid }) => pid);
      throw new PlexiError(
        'STOP_FAILED',
        `the service of ${this.root} did not end, not even by SIGKILL (process ${pids.join(', ')}); look at what it waits for, end it, and try again`,
        { details: { pids } },
      );
    }
    // Also one that could not be understood: it is of an earlier boot.
    removeServiceRecord(this.recordFile);
    this.provedStopped = true;
  }

  async isRunning(): Promise<boolean> {
    return (await this.processes.main(await readServiceRecord(this.recordFile))) !== undefined;
  }

  async describe(): Promise<ServiceDescription> {
    const record = await readServiceRecord(this.recordFile);
    const main = await this.processes.main(record);
    if (main === undefined || record === undefined) return { running: false, ...(await this.howItEnded()) };
    return { running: true, pid: main.pid, sinceMs: Date.parse(record.startedAt) };
  }

  async adopt(adoption: Adoption): Promise<void> {
    const main = liveProcess(adoption.pid);
    if (main === undefined)
      throw new PlexiError('TAKE_OVER_FAILED', `process ${adoption.pid} has ended; start the service again`);
    const before = await readServiceRecord(this.recordFile);
    const known = await this.processes.main(before);
    if (known?.pid === main.pid && known.startTicks === main.startTicks) return;
    const family = new Set((await withDescendants([main])).map(({ pid }) => pid));
    const others = (await this.processes.all(before)).filter(({ pid }) => !family.has(pid));
    if (others.length > 0) {
      const pids = others.map(({ pid }) => pid).join(', ');
      throw new PlexiError(
        'TAKE_OVER_FAILED',
        `another process of the service of ${this.root} runs beside ${main.pid} (${pids}); end it, and try again`,
      );
    }
    await ensureFolder(this.runFolder, 0o755);
    this.provedStopped = false;
    writeServiceRecord(this.recordFile, {
      ...(await this.newRecord(adoption)),
      startedAt: startedAt(main),
      process: { pid: main.pid, startTicks: main.startTicks },
      adopted: { leadsGroup: main.group === main.pid, by: adoption.by },
    });
    this.child = undefined;
  }

  async disown(by: string): Promise<void> {
    const record = await readServiceRecord(this.recordFile);
    if (record?.adopted?.by === by) removeServiceRecord(this.recordFile);
  }

  async pids(): Promise<number[]> {
    const running = await this.processes.all(await readServiceRecord(this.recordFile));
    return running.map(({ pid }) => pid);
  }

  /** The release's words, unless the node has its own; the release's variables, and the service's. */
  private ownSpec(released: ServiceSpec): ServiceSpec {
    const { start = released.argv, env } = this.options;
    return { ...released, argv: start, env: { ...released.env, ...env } };
  }

  private async refuseWhenRunning(): Promise<void> {
    const record = await readServiceRecord(this.recordFile);
    if (record === undefined && this.provedStopped) return;
    const running = await this.processes.all(record);
    const first = running[0];
    if (first === undefined) return;
    throw new PlexiError(
      'APPLY_FAILED',
      `the service of ${this.root} runs already (process ${first.pid}); it must be stopped before it can be started`,
      { details: { pids: running.map(({ pid }) => pid) } },
    );
  }

  private async newRecord(spec: Pick<ServiceSpec, 'argv' | 'stopSignal'>): Promise<ServiceRecord> {
    return {
      schema: 1,
      token: await this.processes.newToken(),
      bootId: bootId(),
      startedAt: new Date().toISOString(),
      stopSignal: spec.stopSignal,
      argv: [...spec.argv],
    };
  }

  /** Starts the program; returns once it is executed. Errors: the system's. */
  private async spawnLogged(spec: ServiceSpec, token: string) {
    const [program = '', ...words] = spec.argv;
    const child = withServiceLog(this.logFile, (output) => {
      const env = { ...spec.env, [tokenVariable]: token };
      const stdio: ('ignore' | number)[] = ['ignore', output, output];
      return spawn(program, words, { cwd: spec.cwd, env, detached: true, stdio });
    });
    child.unref();
    // Read before the event loop turns: until then even a process that ended at once is not collected.
    const startTicks = child.pid === undefined ? undefined : startTicksOf(child.pid);
    await once(child, 'spawn');
    return { child, startTicks };
  }

  private async howItEnded(): Promise<{ ended?: string }> {
    const child = this.child;
    if (child === undefined) return {};
    await endIsTold(child);
    if (!hasEnded(child)) return {};
    return {
      ended: child.signalCode === null ? `exit code ${child.exitCode}` : `signal ${child.signalCode}`,
    };
  }
}

function startFailure(spec: ServiceSpec, error: unknown): PlexiError {
  const [program] = spec.argv;
  if (program === undefined) {
    return new PlexiError(
      'APPLY_FAILED',
      'the release names no program to start; see service.start in its manifest',
    );
  }
  const why = whyNotStarted(spec.cwd, error);
  return new PlexiError('APPLY_FAILED', `the service's program ${program} could not be started: ${why}`, {
    cause: error,
    details: { argv: [...spec.argv], cwd: spec.cwd },
  });
}
