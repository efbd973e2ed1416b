/** A moment as a part of a name: of a file in the quarantine, or of an operator's word. It sorts as the time does. */

/** The moment in UTC, to the second: `20241219T120000Z`. */
export function timeInName(at: Date): string {
  return at.toISOString().replace(/[-:]|\.\d+/g, '');
}
