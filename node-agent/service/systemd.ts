/**
 * The `systemd` adapter: a unit runs the service from `current`, and only the agent starts and stops
 * it (protocol.md, rule 10). Invariant: "stopped" is what systemd says of the whole unit, never the end
 * of its main process; a unit that starts by itself is a problem that preflight tells.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type ErrorCode, PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import type { ServiceConfig } from '../../config/schema/service.js';
import { ensureFolder, isSystemError } from '../disk/durable-file.js';
import { type MonotonicClock, monotonicClock } from './clock.js';
import type { CommandResult } from './command-run.js';
import { writeEnvironmentFile } from './environment-file.js';
import { lastLineOf } from './last-line.js';
import type { ServiceAdapter, ServiceDescription, ServiceSpec } from './service.js';
import { askLoadedUnit, systemctl, type UnitState } from './systemctl.js';

/** The settings of a service with this adapter. */
export type SystemdServiceConfig = Extract<ServiceConfig, { adapter: 'systemd' }>;

/** Milliseconds that systemd gets to collect a unit after SIGKILL, and between two looks at it. */
const killWaitMs = 5_000;
const killPollMs = 50;

/** Where the kernel shows control groups: alone (version 2), or systemd's own tree (version 1). */
const groupFolders = ['/sys/fs/cgroup', '/sys/fs/cgroup/systemd'];

/** A service that is a unit of systemd. */
export class SystemdAdapter implements ServiceAdapter {
  private readonly runFolder: string;

  constructor(
    private readonly config: SystemdServiceConfig,
    root: string,
    private readonly clock: MonotonicClock = monotonicClock,
    private readonly controlGroups: readonly string[] = groupFolders,
  ) {
    this.runFolder = join(root, 'run');
  }

  async start(spec: ServiceSpec): Promise<void> {
    const { unit, name, env } = this.config;
    if (lives(await this.state('APPLY_FAILED'))) {
      throw new PlexiError(
        'APPLY_FAILED',
        `the unit ${unit} runs already; it must be stopped before it can be started`,
      );
    }
    await ensureFolder(this.runFolder, 0o755);
    await writeEnvironmentFile(join(this.runFolder, `${name}.env`), { ...spec.env, ...env });
    // Earlier starts count towards systemd's own bound of starts; how often to start is the agent's to
    // judge. A unit that never ran has nothing to forget, and that this fails then means nothing.
    await systemctl(['reset-failed', unit], limits.serviceStatusMs);
    const result = await systemctl(['start', unit], limits.serviceStartMs);
    if (result.exitCode === 0) return;
    throw new PlexiError(
      'APPLY_FAILED',
      `the unit ${unit} could not be started: ${result.sentence}${lastLineOf(result.output)}; see journalctl -u ${unit}`,
    );
  }

  async stop(timeoutMs: number): Promise<void> {
    const { unit } = this.config;
    if (isStopped(await this.state('STOP_FAILED'))) return;
    // Waits by itself until the unit is inactive; ended before its time, it was refused.
    const asked = await systemctl(['stop', unit], timeoutMs);
    if (isStopped(await this.state('STOP_FAILED'))) return;
    if (!asked.timedOut) throw this.stopFailure(asked);
    const killed = await systemctl(['kill', '--signal=SIGKILL', unit], limits.serviceStatusMs);
    const deadline = this.clock.now() + killWaitMs;
    while (!isStopped(await this.state('STOP_FAILED'))) {
      if (this.clock.now() >= deadline) throw this.stopFailure(asked, killed);
      await this.clock.sleep(killPollMs);
    }
  }

  async isRunning(): Promise<boolean> {
    return lives(await this.state('STOP_FAILED'));
  }

  async describe(): Promise<ServiceDescription> {
    const state = await this.state('STOP_FAILED');
    if (!lives(state)) return { running: false };
    const pid = Number(state.MainPID);
    const sinceMs = wallMs(Number(state.ActiveEnterTimestampMonotonic));
    return { running: true, ...(pid > 0 && { pid }), ...(sinceMs !== undefined && { sinceMs }) };
  }

  /** All of its control group; its main process alone where the kernel does not show the group. */
  async pids(): Promise<number[]> {
    const state = await this.state('STOP_FAILED');
    if (state.ControlGroup !== '' && state.ControlGroup !== '/') {
      for (const folder of this.controlGroups) {
        const pids = await pidsBelow(join(folder, state.ControlGroup));
        if (pids.length > 0) return pids;
      }
    }
    const pid = Number(state.MainPID);
    return pid > 0 ? [pid] : [];
  }

  private stopFailure(...tried: readonly CommandResult[]): PlexiError {
    const { unit } = this.config;
    const how = tried.map((it) => `${it.sentence}${lastLineOf(it.output)}`).join('; ');
    return new PlexiError(
      'STOP_FAILED',
      `the unit ${unit} did not stop: ${how}; see systemctl status ${unit}`,
    );
  }

  private state(code: ErrorCode): Promise<UnitState> {
    return askLoadedUnit(this.config.unit, code);
  }
}

/** Whether nothing of a unit runs, and nothing is under way. */
function isStopped(state: UnitState): boolean {
  return state.ActiveState === 'inactive' || state.ActiveState === 'failed';
}

/** Whether a unit's service lives; one whose main process has ended may be active still ("exited"). */
function lives(state: UnitState): boolean {
  return !isStopped(state) && state.SubState !== 'exited';
}

/** A moment of the kernel's monotonic clock (microseconds) on the wall clock; undefined for "never". */
function wallMs(monotonicMicros: number): number | undefined {
  if (!(monotonicMicros > 0)) return undefined;
  const agoMs = Number(process.hrtime.bigint() / 1_000_000n) - monotonicMicros / 1_000;
  return Math.round(Date.now() - agoMs);
}

/** The processes of a control group and of those below it. */
async function pidsBelow(folder: string): Promise<number[]> {
  try {
    const entries = await readdir(folder, { withFileTypes: true });
    const own = (await readFile(join(folder, 'cgroup.procs'), 'utf8'))
      .split('\n')
      .filter(Boolean)
      .map(Number);
    const below = entries
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => pidsBelow(join(folder, name)));
    return [...own, ...(await Promise.all(below)).flat()];
  } catch (error) {
    if (isSystemError(error, 'ENOENT') || isSystemError(error, 'ENODEV')) return [];
    throw error;
  }
}
