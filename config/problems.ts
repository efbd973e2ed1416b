/**
 * What is wrong with a configuration, as an operator wants to read it: every problem at once, each
 * with its file, line and key. Invariant: a configuration error never stops at the first problem,
 * because a file with five mistakes should not need five starts.
 */
import type * as z from 'zod';
import { PlexiError } from './errors.js';
import { keyMeant } from './key-meant.js';
import { limits } from './limits.js';
import type { SchemaKey } from './schema/keys.js';

/** One thing that is wrong in one place. */
export interface ConfigProblem {
  readonly file: string;
  /** Counts from 1; 0 when the problem has no line (the file itself). */
  readonly line: number;
  /** The key with dots, for example `rollout.timeouts.stop_ms`; empty for the file itself. */
  readonly key: string;
  readonly message: string;
}

/** What a document needs to say so that problems can be placed. */
export interface PlacedDocument {
  readonly file: string;
  readonly value: unknown;
  /** The line of the key at the path, or of the nearest one above it that exists. */
  lineOf(path: readonly PropertyKey[]): number;
}

/** The one error of a configuration; it keeps its problems, so that two files can be told together. */
export class ConfigInvalidError extends PlexiError {
  readonly problems: readonly ConfigProblem[];

  constructor(message: string, problems: readonly ConfigProblem[]) {
    super('CONFIG_INVALID', message, { details: { problems: problems.slice(0, limits.configProblems) } });
    this.problems = problems;
  }
}

/** Makes the one error that lists all problems, in the order of the lines. */
export function configInvalid(problems: readonly ConfigProblem[]): ConfigInvalidError {
  const sorted = [...problems].sort((a, b) => a.file.localeCompare(b.file) || a.line - b.line);
  const shown = sorted.slice(0, limits.configProblems).map(problemLine);
  const rest = sorted.length - shown.length;
  if (rest > 0) shown.push(`and ${rest} more`);
  const message =
    shown.length === 1
      ? shown.join('')
      : `${sorted.length} problems in the configuration:\n  ${shown.join('\n  ')}`;
  return new ConfigInvalidError(message, sorted);
}

/** `file:line: key: what is wrong`, without the parts that there are not. */
function problemLine(problem: ConfigProblem): string {
  const place = problem.line === 0 ? problem.file : `${problem.file}:${problem.line}`;
  return problem.key === '' ? `${place}: ${problem.message}` : `${place}: ${problem.key}: ${problem.message}`;
}

/**
 * Turns what the schema found into problems with lines; one for each unknown key. With the keys of the
 * schema, an unknown one is answered with the one that was probably meant.
 */
export function problemsOfIssues(
  document: PlacedDocument,
  issues: readonly z.core.$ZodIssue[],
  known: readonly SchemaKey[] = [],
): ConfigProblem[] {
  return issues.flatMap((issue) => {
    if (issue.code === 'unrecognized_keys') {
      return issue.keys.map((key) => {
        const path = [...issue.path, key];
        return placed(document, path, unknownKey(key, keyMeant(known, path)));
      });
    }
    return [placed(document, issue.path, sentenceOf(issue, valueAt(document.value, issue.path)))];
  });
}

/** A problem at a key of a document. */
export function placed(
  document: PlacedDocument,
  path: readonly PropertyKey[],
  message: string,
): ConfigProblem {
  return { file: document.file, line: document.lineOf(path), key: dotted(path), message };
}

function unknownKey(key: string, meant: string | undefined): string {
  if (meant !== undefined) return `is not a known key here; did you mean ${meant}?`;
  return key.includes('-')
    ? `is not a known key; keys are written with underscores`
    : 'is not a known key here; check its spelling and indentation against config/samples';
}

/** What is wrong, for one issue of the schema, in plain words. */
function sentenceOf(issue: z.core.$ZodIssue, found: unknown): string {
  switch (issue.code) {
    case 'invalid_type':
      return found === undefined
        ? `is missing; it must be ${kindName(issue.expected)}`
        : `must be ${kindName(issue.expected)}, not ${foundName(found)}${advice(issue.expected, found)}`;
    case 'invalid_value':
      return found === undefined
        ? `is missing; it must be one of ${issue.values.map(String).join(', ')}`
        : `must be one of ${issue.values.map(String).join(', ')}`;
    case 'too_small':
      return `must ${bound('at least', Number(issue.minimum), issue.origin)}`;
    case 'too_big':
      return `must ${bound('at most', Number(issue.maximum), issue.origin)}`;
    case 'invalid_union':
      return unionSentence(issue, found);
    case 'invalid_key':
      return issue.issues[0]?.message ?? 'is not a name that is allowed here';
    default:
      return issue.message;
  }
}

function unionSentence(issue: z.core.$ZodIssueInvalidUnion, found: unknown): string {
  const options =
    'options' in issue && Array.isArray(issue.options) ? issue.options.map(String).join(', ') : '';
  if (options === '') return issue.message;
  return found === undefined ? `is missing; it must be one of ${options}` : `must be one of ${options}`;
}

/** The usual mistakes: a bare 1 or true where text is wanted, yes or "5" where it is not. */
function advice(expected: string, found: unknown): string {
  const isBare = typeof found === 'number' || typeof found === 'boolean';
  if (expected === 'string' && isBare) return '; put it in quotes';
  if (typeof found !== 'string') return '';
  if (expected === 'boolean' && /^(yes|no|on|off|true|false)$/i.test(found)) return '; write true or false';
  if (['int', 'number'].includes(expected) && /^[0-9]+$/.test(found)) return '; write it without quotes';
  return '';
}

function kindName(expected: string): string {
  const names: Readonly<Record<string, string>> = {
    string: 'text',
    int: 'a whole number',
    number: 'a whole number',
    boolean: 'true or false',
    array: 'a list',
    object: 'a group of keys',
    record: 'a group of keys',
  };
  return names[expected] ?? expected;
}

function foundName(found: unknown): string {
  if (found === null) return 'empty';
  if (Array.isArray(found)) return 'a list';
  if (typeof found === 'object') return 'a group of keys';
  if (typeof found === 'string') return 'text';
  return shown(String(found));
}

function bound(word: string, count: number, origin: string): string {
  if (origin === 'string') return `be ${word} ${count} ${count === 1 ? 'character' : 'characters'} long`;
  if (origin === 'array') return `have ${word} ${count} ${count === 1 ? 'entry' : 'entries'}`;
  return `be ${word} ${count}`;
}

function dotted(path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, part) => {
    if (typeof part === 'number') return `${text}[${part}]`;
    return text === '' ? shown(String(part)) : `${text}.${shown(String(part))}`;
  }, '');
}

/** A word out of a file, safe for a terminal and a log: one line, no control characters, not too long. */
export function shown(word: string): string {
  const cut = word.length > limits.configShownChars ? `${word.slice(0, limits.configShownChars)}…` : word;
  return /^[\p{L}\p{N}\p{P}\p{S} ]*$/u.test(cut) ? cut : JSON.stringify(cut).replace(/[^\x20-\x7e…]/gu, '?');
}

/** The value at a path of plain data; undefined when there is none. */
export function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  let at: unknown = value;
  for (const part of path) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, part)) return undefined;
    at = Reflect.get(at, part);
  }
  return at;
}
