/**
 * A node's log for people. Pieces come as they stand in the file, so a line (and a character) may be
 * cut between two of them; whole lines are put together here. What a service prints is not ours: on a
 * terminal it passes `printable`, so that no log line can move the cursor.
 */
import { StringDecoder } from 'node:string_decoder';
import { printable } from './cells.js';

/** A line that is longer than this is passed on in parts, so that memory stays bounded. */
const lineCharsMax = 64 * 1024;

/** Puts pieces together to lines. */
export class LineSplitter {
  readonly #decoder = new StringDecoder('utf8');
  #rest = '';

  /** The lines that are whole now, without their newlines. */
  take(piece: Buffer): string[] {
    const lines = (this.#rest + this.#decoder.write(piece)).split('\n');
    this.#rest = lines.pop() ?? '';
    if (this.#rest.length > lineCharsMax) lines.push(...this.end());
    return lines.map(withoutReturn);
  }

  /** The last line, when the log does not end with a newline. */
  end(): string[] {
    const last = this.#rest + this.#decoder.end();
    this.#rest = '';
    return last === '' ? [] : [withoutReturn(last)];
  }
}

/**
 * One line of an agent's log, which is JSON, as `time step text`; a line that is none of ours stays as
 * it is. Never throws.
 */
export function agentLogText(line: string): string {
  const entry = objectIn(line);
  if (entry === undefined) return printable(line);
  const step = textOf(entry.step) || textOf(entry.phase) || textOf(entry.level);
  const error = textOf(entry.error) || textIn(entry.err, 'message');
  const message = [textOf(entry.msg) || textOf(entry.message), error].filter((part) => part !== '');
  return printable([timeText(entry.time), step || '-', message.join(': ')].join(' '));
}

function objectIn(line: string): Readonly<Record<string, unknown>> | undefined {
  if (!line.startsWith('{')) return undefined;
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null ? { ...value } : undefined;
  } catch (thrown) {
    if (thrown instanceof SyntaxError) return undefined;
    throw thrown;
  }
}

function textIn(value: unknown, key: string): string {
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return '';
  return textOf(Reflect.get(value, key));
}

/** Levels come as numbers; they say less than a step does, so only words count. */
function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

/** Milliseconds since 1970, or a time as text, as `2024-12-19 12:00:00Z`. */
function timeText(time: unknown): string {
  if (typeof time !== 'number' && typeof time !== 'string') return '?';
  const date = new Date(time);
  if (Number.isNaN(date.getTime())) return '?';
  return `${date.toISOString().slice(0, 19).replace('T', ' ')}Z`;
}

function withoutReturn(line: string): string {
  return line.endsWith('\r') ? line.slice(0, -1) : line;
}
