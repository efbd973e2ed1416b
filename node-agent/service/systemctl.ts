/**
 * What systemd says of a unit, and asking it to do something: through `systemctl`, found on PATH, never
 * with a question to a person. Invariant: a unit that systemd does not know, and an answer that did not
 * come, are errors; nothing is concluded from them.
 */
import { type ErrorCode, PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import { type CommandResult, runCommand } from './command-run.js';
import { lastLineOf } from './last-line.js';

/** What is asked of a unit; every one is in the answer of systemd 240 and newer. */
const properties = [
  'LoadState',
  'ActiveState',
  'SubState',
  'MainPID',
  'ControlGroup',
  'ActiveEnterTimestampMonotonic',
  'UnitFileState',
  'Restart',
  'KillMode',
] as const;

/** The state of a unit, in systemd's own words. */
export type UnitState = Readonly<Record<(typeof properties)[number], string>>;

/** Calls systemctl. Never rejects. @param timeoutMs for the whole call */
export function systemctl(words: readonly string[], timeoutMs: number): Promise<CommandResult> {
  const env = { PATH: process.env.PATH ?? '/usr/bin:/bin', LANG: 'C.UTF-8', SYSTEMD_COLORS: '0' };
  return runCommand({ argv: ['systemctl', '--no-ask-password', ...words], cwd: '/', env, timeoutMs });
}

/** The state of a unit, also of one that systemd does not know. @throws PlexiError with the code */
export async function askUnit(unit: string, code: ErrorCode): Promise<UnitState> {
  const result = await systemctl(
    ['show', unit, `--property=${properties.join(',')}`],
    limits.serviceStatusMs,
  );
  const said = new Map(result.output.split('\n').map(splitLine));
  if (result.exitCode === 0 && said.has('LoadState') && said.has('ActiveState')) {
    const value = (name: (typeof properties)[number]): string => said.get(name) ?? '';
    return {
      LoadState: value('LoadState'),
      ActiveState: value('ActiveState'),
      SubState: value('SubState'),
      MainPID: value('MainPID'),
      ControlGroup: value('ControlGroup'),
      ActiveEnterTimestampMonotonic: value('ActiveEnterTimestampMonotonic'),
      UnitFileState: value('UnitFileState'),
      Restart: value('Restart'),
      KillMode: value('KillMode'),
    };
  }
  throw new PlexiError(
    code,
    `the state of the unit ${unit} is unknown: ${result.sentence}${lastLineOf(result.output)}; the systemd adapter needs systemctl and a running systemd`,
  );
}

/** The state of a unit that systemd has loaded. @throws PlexiError with the code, when it has not */
export async function askLoadedUnit(unit: string, code: ErrorCode): Promise<UnitState> {
  const state = await askUnit(unit, code);
  const why = whyNotLoaded(unit, state);
  if (why === undefined) return state;
  throw new PlexiError(code, why);
}

/** Why systemd cannot run a unit, as a sentence; undefined when it can. */
export function whyNotLoaded(unit: string, state: UnitState): string | undefined {
  if (state.LoadState === 'loaded') return undefined;
  if (state.LoadState === 'not-found') {
    return `systemd knows no unit ${unit}; install its file, and run systemctl daemon-reload`;
  }
  return `systemd has the unit ${unit} as ${state.LoadState}, so it cannot be started; see systemctl status ${unit}`;
}

/** `NAME=value`; a value may hold the sign again. */
function splitLine(line: string): [string, string] {
  const at = line.indexOf('=');
  return at < 0 ? [line, ''] : [line.slice(0, at), line.slice(at + 1)];
}
