/**
 * Shows a text of unknown origin inside an error or a log line. Invariant: the result is printable
 * ASCII on one line and of bounded length, so a hostile name can neither forge a line nor fill one.
 */

/** The text in double quotes, odd characters escaped, cut after `charsMax` characters. */
export function quoted(text: string, charsMax = 80): string {
  const shown = text.length > charsMax ? `${text.slice(0, charsMax)}...` : text;
  return JSON.stringify(shown).replace(/[^ -~]/g, escapeUnit);
}

function escapeUnit(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
