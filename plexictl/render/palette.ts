/**
 * The few colours plexictl uses, each named for what it says. With colours off every function gives
 * its text back, so that a renderer is written once. Colour never carries a meaning alone: the phase
 * or the word stands beside it.
 */

/** Paints text for its meaning. */
export interface Palette {
  good(text: string): string;
  bad(text: string): string;
  busy(text: string): string;
  warning(text: string): string;
  faint(text: string): string;
  strong(text: string): string;
}

/** The palette for a stream on which colours may, or may not, be used. */
export function palette(colours: boolean): Palette {
  const paint = (code: number) => (text: string) =>
    colours && text !== '' ? `\u001b[${code}m${text}\u001b[0m` : text;
  return {
    good: paint(32),
    bad: paint(31),
    busy: paint(36),
    warning: paint(33),
    faint: paint(2),
    strong: paint(1),
  };
}
