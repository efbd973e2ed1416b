/**
 * The values of options, checked before anything is sent: a typing error must not cost a round trip,
 * and must never reach the cluster as something else than what was meant.
 */
import { PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';
import { isName } from '../../config/schema/fields.js';

/** A parser for commander: a whole number between two bounds, both included. */
export function wholeNumber(option: string, least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d{1,9}$/.test(text) && value >= least && value <= most) return value;
    throw new PlexiError('USAGE', `${option}: "${text}" is not a whole number from ${least} to ${most}`);
  };
}

/** Names of nodes; each word may hold several with commas between them. */
export function nameList(option: string, words: readonly string[]): string[] {
  const names = words.flatMap((word) => word.split(','));
  return names.map((name) => nodeName(option, name));
}

/** One node's name. */
export function nodeName(option: string, name: string): string {
  if (isName(name)) return name;
  throw new PlexiError(
    'USAGE',
    `${option}: "${name}" is no node's name; names have up to ${limits.nameChars} small letters, digits and dashes`,
  );
}

/** Labels as they are sent for a selection: `key=value` each. */
export function labelTexts(option: string, words: readonly string[]): string[] {
  return Object.entries(labelMap(option, words)).map(([key, value]) => `${key}=${value}`);
}

/** Labels by key; each word is `key=value`, or several with commas between them. */
export function labelMap(option: string, words: readonly string[]): Record<string, string> {
  const labels = new Map<string, string>();
  for (const word of words.flatMap((text) => text.split(','))) {
    const [, key, value] = /^([A-Za-z0-9][A-Za-z0-9._/-]{0,62})=([^\s,=]{0,63})$/.exec(word) ?? [];
    if (key === undefined || value === undefined) {
      throw new PlexiError('USAGE', `${option}: "${word}" is no label; write key=value, for example zone=a`);
    }
    if (labels.has(key)) throw new PlexiError('USAGE', `${option}: the label ${key} is given twice`);
    labels.set(key, value);
  }
  if (labels.size > limits.labels)
    throw new PlexiError('USAGE', `${option}: at most ${limits.labels} labels`);
  return Object.fromEntries(labels);
}

/** The operator's reason; '' when none was given. */
export function checkedReason(reason: string | undefined): string {
  if (reason === undefined) return '';
  if (reason.length <= limits.reasonChars) return reason;
  throw new PlexiError('USAGE', `--reason: at most ${limits.reasonChars} characters`);
}

/** A reason that must be given, because nobody could tell later why this was done. */
export function requiredReason(reason: string | undefined): string {
  const given = checkedReason(reason).trim();
  if (given !== '') return given;
  throw new PlexiError('USAGE', 'say why with --reason TEXT; it is kept for those who ask later');
}

/** A version as text, within its bound; what it means is for the cluster's version scheme. */
export function checkedVersion(option: string, version: string): string {
  if (version === '') throw new PlexiError('USAGE', `${option}: the version is empty; write for example 0b1`);
  if (version.length <= limits.versionChars) return version;
  throw new PlexiError(
    'VERSION_INVALID',
    `${option}: a version has at most ${limits.versionChars} characters`,
  );
}

/** The word `on` or `off` as a boolean; `example` shows right words. */
export function onOrOff(word: string, example: string): boolean {
  if (word === 'on' || word === 'off') return word === 'on';
  throw new PlexiError('USAGE', `"${word}" is neither on nor off; write ${example}`);
}
