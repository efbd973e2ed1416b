/**
 * The bounds that every version text meets before any scheme reads it, and the comparisons both
 * schemes share. Invariant: a refused text is quoted in the error with its control characters
 * escaped and its length cut, so that a hostile name can neither forge a log line nor fill one.
 */
import { PlexiError } from '../config/errors.js';
import { limits } from '../config/limits.js';
import { quoted } from './quoted.js';

/** Characters of a refused text that its error shows. */
const quotedChars = 40;

/** A PlexiError VERSION_INVALID for a text, with the reason and what to write instead. */
export function versionRefused(text: string, why: string, write: string): PlexiError {
  return new PlexiError(
    'VERSION_INVALID',
    `${quoted(text, quotedChars)} is not a version: ${why}; ${write}.`,
  );
}

/** Throws VERSION_INVALID for a text that no scheme accepts: empty, over-long, with odd characters. */
export function assertVersionText(text: string, write: string): void {
  if (text === '') throw versionRefused(text, 'it is empty', write);
  if (text.length > limits.versionChars) {
    throw versionRefused(text, `it has more than ${limits.versionChars} characters`, write);
  }
  if (!/^[0-9A-Za-z.+-]+$/.test(text) || text.includes('\n')) {
    throw versionRefused(text, 'it holds characters other than digits, letters, ".", "+" and "-"', write);
  }
}

/** Order of two runs of digits without leading zeros, of any length. */
export function compareDigits(a: string, b: string): number {
  return a.length - b.length || compareText(a, b);
}

/** Order by code unit, the same on every machine and in every locale. */
export function compareText(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

/** Order of two identifiers: digits by value, and below everything else; the rest by text. */
export function compareIdentifiers(a: string, b: string): number {
  const aNumeric = isDigits(a);
  const bNumeric = isDigits(b);
  if (aNumeric && bNumeric) return compareDigits(a, b);
  if (aNumeric !== bNumeric) return aNumeric ? -1 : 1;
  return compareText(a, b);
}

/** Whether a text consists of ASCII digits only. */
export function isDigits(text: string): boolean {
  return /^[0-9]+$/.test(text);
}
