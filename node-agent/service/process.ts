/**
 * The `process` adapter: the service is a process of its own session and group, writes to a file,
 * and outlives the agent (protocol.md, rule 14). Its identity is (pid, start time, boot id). Every
 * service of this root carries a token in its environment that begins with the root's own text, so
 * what an agent started and died before it could record is still found, and never runs twice.
 * A service must stay in the foreground; one that moves itself away is found by the token only.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { realpath } from 'node:fs/promises';
import { constants } from 'node:os';
import { join } from 'node:path';
import { PlexiError } from '../../config/errors.js';
import { ensureFolder } from '../disk/durable-file.js';
import { type Adoption, adoptedFamily, endAdopted, startedAt } from './adopted-process.js';
import { type MonotonicClock, monotonicClock } from './clock.js';
import {
  bootId,
  findProcesses,
  groupExists,
  isAlive,
  type LiveProcess,
  liveProcess,
  signalGroups,
  startTicksOf,
} from './process-table.js';
import { withDescendants } from './process-tree.js';
import type { ServiceAdapter, ServiceDescription, ServiceSpec } from './service.js';
import { withServiceLog } from './service-log.js';
import {
  readServiceRecord,
  removeServiceRecord,
  type ServiceRecord,
  writeServiceRecord,
} from './service-record.js';
import { whyNotStarted } from './start-failure.js';

/** The variable by which a service of this root is known. */
const TOKEN_VARIABLE = 'PLEXI_SERVICE_TOKEN';

/** Milliseconds that the system gets to collect a group after SIGKILL. */
const KILL_WAIT_MS = 5_000;

/** Milliseconds between two looks at a process that shall end: at first, and at the most. */
const POLL_FIRST_MS = 5;
const POLL_MAX_MS = 50;

/** A service as a plain process, for one node's root. */
export class ProcessService implements ServiceAdapter {
  private readonly recordFile: string;
  private readonly logFile: string;
  private readonly runFolder: string;
  /** The process that this very agent started; a later agent has none. */
  private child: ChildProcess | undefined;
  /** What a search by token has found, so that it is not made again at each look. */
  private found: { token: string; process: LiveProcess } | undefined;

  constructor(
    private readonly root: string,
    private readonly clock: MonotonicClock = monotonicClock,
  ) {
    this.runFolder = join(root, 'run');
    this.recordFile = join(this.runFolder, 'service.json');
    this.logFile = join(this.runFolder, 'service.log');
  }

  async start(spec: ServiceSpec): Promise<void> {
    await ensureFolder(this.runFolder, 0o755);
    await this.refuseWhenRunning();
    const starting = await this.newRecord(spec);
    await writeServiceRecord(this.recordFile, starting);
    try {
      const { child, startTicks } = await this.spawnLogged(spec, starting.token);
      this.child = child;
      if (child.pid === undefined || startTicks === undefined) return;
      await writeServiceRecord(this.recordFile, { ...starting, process: { pid: child.pid, startTicks } });
    } catch (error) {
      if (!(await this.isRunning())) await removeServiceRecord(this.recordFile);
      throw startFailure(spec, error);
    }
  }

  async stop(timeoutMs: number): Promise<void> {
    const record = await readServiceRecord(this.recordFile);
    const signal = stopSignal(record);
    const deadline = this.clock.now() + timeoutMs;
    if (record?.adopted !== undefined) await endAdopted(record, signal, deadline, this.clock);
    let left = await this.everythingRunning(record);
    if (left.length > 0) left = await this.endAll(record, left, signal, deadline);
    if (left.length > 0) left = await this.endAll(record, left, 'SIGKILL', this.clock.now() + KILL_WAIT_MS);
    if (left.length > 0) {
      const pids = left.map(({ pid }) => pid).join(', ');
      throw new PlexiError(
        'STOP_FAILED',
        `the service of ${this.root} did not end, not even by SIGKILL (process ${pids}); look at what it waits for, end it, and try again`,
        { details: { pids: left.map(({ pid }) => pid) } },
      );
    }
    await removeServiceRecord(this.recordFile);
  }

  async isRunning(): Promise<boolean> {
    return (await this.mainProcess()) !== undefined;
  }

  async describe(): Promise<ServiceDescription> {
    const record = await readServiceRecord(this.recordFile);
    const main = await this.mainProcess();
    if (main === undefined || record === undefined) return { running: false, ...this.howItEnded() };
    return { running: true, pid: main.pid, sinceMs: Date.parse(record.startedAt) };
  }

  async adopt(adoption: Adoption): Promise<void> {
    const main = liveProcess(adoption.pid);
    if (main === undefined)
      throw new PlexiError('TAKE_OVER_FAILED', `process ${adoption.pid} has ended; start the service again`);
    const before = await readServiceRecord(this.recordFile);
    const known = await this.mainProcess();
    if (known?.pid === main.pid && known.startTicks === main.startTicks) return;
    const family = new Set((await withDescendants([main])).map(({ pid }) => pid));
    const others = (await this.everythingRunning(before)).filter(({ pid }) => !family.has(pid));
    if (others.length > 0) {
      const pids = others.map(({ pid }) => pid).join(', ');
      throw new PlexiError(
        'TAKE_OVER_FAILED',
        `another process of the service of ${this.root} runs beside ${main.pid} (${pids}); end it, and try again`,
      );
    }
    await ensureFolder(this.runFolder, 0o755);
    await writeServiceRecord(this.recordFile, {
      ...(await this.newRecord(adoption)),
      startedAt: startedAt(main),
      process: { pid: main.pid, startTicks: main.startTicks },
      adopted: { leadsGroup: main.group === main.pid, by: adoption.by },
    });
    this.child = undefined;
  }

  async disown(by: string): Promise<void> {
    const record = await readServiceRecord(this.recordFile);
    if (record?.adopted?.by === by) await removeServiceRecord(this.recordFile);
  }

  /** The process of the record; looked for by its token when the agent died before it was known. */
  private async mainProcess(): Promise<LiveProcess | undefined> {
    const record = await readServiceRecord(this.recordFile);
    if (record === undefined || record.bootId !== bootId()) return undefined;
    const known = record.process ?? (await this.processOfToken(record.token));
    const candidate = known === undefined ? undefined : liveProcess(known.pid);
    return candidate?.startTicks === known?.startTicks ? candidate : undefined;
  }

  /** The process that was started by an agent which died before it could record it. */
  private async processOfToken(token: string): Promise<LiveProcess | undefined> {
    if (this.found?.token === token) return this.found.process;
    const marked = await findProcesses({ groups: new Set(), environmentText: tokenText(token) });
    // The oldest is the one that was started; the others are its children.
    const main = marked.sort((a, b) => a.startTicks - b.startTicks || a.pid - b.pid)[0];
    if (main !== undefined) this.found = { token, process: main };
    return main;
  }

  private async refuseWhenRunning(): Promise<void> {
    const running = await this.everythingRunning(await readServiceRecord(this.recordFile));
    const first = running[0];
    if (first === undefined) return;
    throw new PlexiError(
      'APPLY_FAILED',
      `the service of ${this.root} runs already (process ${first.pid}); it must be stopped before it can be started`,
      { details: { pids: running.map(({ pid }) => pid) } },
    );
  }

  /** Every live process of this root: the recorded one, its group, and whatever carries the token. */
  private async everythingRunning(record: ServiceRecord | undefined): Promise<LiveProcess[]> {
    const groups = new Set<number>();
    const group = record?.bootId === bootId() ? record.process?.pid : undefined;
    // The group is searched only when it is still the service's: its leader lives, or is not replaced.
    if (group !== undefined && groupExists(group) && this.isOurGroup(record)) groups.add(group);
    const ours = await findProcesses({ groups, environmentText: tokenText(await this.rootToken()) });
    return record?.adopted === undefined ? ours : [...ours, ...(await adoptedFamily(record))];
  }

  /** An id stays taken while a group bears it, so only a living leader can be someone else's. */
  private isOurGroup(record: ServiceRecord | undefined): boolean {
    if (record?.process === undefined || record.adopted?.leadsGroup === false) return false;
    const leader = liveProcess(record.process.pid);
    return leader === undefined || leader.startTicks === record.process.startTicks;
  }

  /** Signals all, and whatever of the service shows up meanwhile; returns what lives at the deadline. */
  private async endAll(
    record: ServiceRecord | undefined,
    running: LiveProcess[],
    signal: NodeJS.Signals,
    deadline: number,
  ): Promise<LiveProcess[]> {
    let left = running;
    let pauseMs = POLL_FIRST_MS;
    signalGroups(left, signal);
    for (;;) {
      left = left.filter(isAlive);
      if (left.length === 0) {
        left = await this.everythingRunning(record);
        signalGroups(left, signal);
      }
      const remainingMs = deadline - this.clock.now();
      if (left.length === 0 || remainingMs <= 0) return left;
      await this.pause(Math.min(pauseMs, remainingMs));
      pauseMs = Math.min(pauseMs * 1.5, POLL_MAX_MS);
    }
  }

  /** Waits a moment; the end of our own child ends the wait, which saves the rest of it. */
  private async pause(ms: number): Promise<void> {
    const child = this.child;
    if (child === undefined || hasEnded(child)) return this.clock.sleep(ms);
    const over = new AbortController();
    const onExit = () => over.abort();
    child.once('exit', onExit);
    await this.clock.sleep(ms, over.signal);
    child.off('exit', onExit);
  }

  private async newRecord(spec: Pick<ServiceSpec, 'argv' | 'stopSignal'>): Promise<ServiceRecord> {
    return {
      schema: 1,
      token: `${await this.rootToken()}${randomBytes(12).toString('hex')}`,
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
      const env = { ...spec.env, [TOKEN_VARIABLE]: token };
      const stdio: ('ignore' | number)[] = ['ignore', output, output];
      return spawn(program, words, { cwd: spec.cwd, env, detached: true, stdio });
    });
    child.unref();
    // Read before the event loop turns: until then even a process that ended at once is not collected.
    const startTicks = child.pid === undefined ? undefined : startTicksOf(child.pid);
    await once(child, 'spawn');
    return { child, startTicks };
  }

  /** How the token of every service of this root begins; the same for each way to name the root. */
  private async rootToken(): Promise<string> {
    const path = await realpath(this.root);
    return `${createHash('sha256').update(path).digest('hex').slice(0, 24)}.`;
  }

  private howItEnded(): { ended?: string } {
    const child = this.child;
    if (child === undefined || !hasEnded(child)) return {};
    return {
      ended: child.signalCode === null ? `exit code ${child.exitCode}` : `signal ${child.signalCode}`,
    };
  }
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

function tokenText(token: string): string {
  return `${TOKEN_VARIABLE}=${token}`;
}

function stopSignal(record: ServiceRecord | undefined): NodeJS.Signals {
  const wanted = record?.stopSignal ?? 'SIGTERM';
  return isSignal(wanted) ? wanted : 'SIGTERM';
}

function isSignal(text: string): text is NodeJS.Signals {
  return Object.hasOwn(constants.signals, text);
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
