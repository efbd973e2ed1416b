/**
 * Durations as people write and read them: `2s`, `1m 05s`. Values are whole milliseconds on both
 * sides; a text without a unit is refused, since nobody can tell what `--soak 2` would mean.
 */
import { PlexiError } from '../config/errors.js';

const unitMs: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/**
 * Reads a duration such as `500ms`, `2s`, `1.5m` or `1h30m` as milliseconds.
 * Throws USAGE for anything else, naming the option it was given for.
 */
export function parseDurationMs(text: string, option: string): number {
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/gy)];
  const readChars = parts.reduce((sum, part) => sum + part[0].length, 0);
  const totalMs = parts.reduce(
    (sum, part) => sum + Number(part[1]) * (unitMs[part[2] ?? ''] ?? Number.NaN),
    0,
  );
  if (parts.length === 0 || readChars !== text.length || !Number.isSafeInteger(Math.round(totalMs))) {
    throw new PlexiError(
      'USAGE',
      `${option}: "${text}" is no duration; write a number with ms, s, m, h or d, such as 2s`,
    );
  }
  return Math.round(totalMs);
}

/** Writes milliseconds in at most seven characters: `850ms`, `9.4s`, `42s`, `1m 05s`, `2h 03m`, `12d 4h`. */
export function formatDuration(durationMs: number): string {
  const ms = Math.max(0, Math.round(durationMs));
  if (ms < 1_000) return `${ms}ms`;
  if (ms < 9_950) return `${(ms / 1_000).toFixed(1)}s`;
  const seconds = Math.round(ms / 1_000);
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)}m ${twoDigits(seconds % 60)}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 1_440) return `${Math.floor(minutes / 60)}h ${twoDigits(minutes % 60)}m`;
  const days = Math.floor(minutes / 1_440);
  return days < 100 ? `${days}d ${Math.floor(minutes / 60) % 24}h` : `${days}d`;
}

/** Writes milliseconds for a clock that ticks each second: no fractions, so that a row does not flicker. */
export function formatElapsed(durationMs: number): string {
  const seconds = Math.max(0, Math.floor(durationMs / 1_000));
  return seconds < 60 ? `${seconds}s` : formatDuration(seconds * 1_000);
}

function twoDigits(value: number): string {
  return String(value).padStart(2, '0');
}
