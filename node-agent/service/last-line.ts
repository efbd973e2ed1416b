/** The last line that a program printed, for a sentence about it: bounded, and without control characters. */
const charsMax = 200;

/** " (the line)", or nothing when it printed nothing. */
export function lastLineOf(output: string): string {
  const line = output.trimEnd().split('\n').at(-1) ?? '';
  const plain = line
    .replace(/\p{Cc}/gu, ' ')
    .trim()
    .slice(0, charsMax);
  return plain === '' ? '' : ` (${plain})`;
}
