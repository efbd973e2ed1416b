/**
 * Takes the values of secrets out of what a program prints. Output comes in pieces, so the end of
 * each piece is held back until it is certain that no value begins in it. Invariant: no whole value
 * passes, wherever the pieces are cut, and a value that holds a shorter one goes as a whole.
 */

/** What stands in a value's place. */
const REPLACEMENT = '***';

/** Redacts one stream of bytes. */
export class Redaction {
  private readonly values: RegExp | undefined;
  private readonly longest: number;
  private held = '';

  constructor(values: readonly Uint8Array[]) {
    // One character for each byte: the bytes of a stream need not be text.
    const texts = values.map((value) => Buffer.from(value).toString('latin1')).filter((text) => text !== '');
    // At one place the first that fits is taken, so the longer one must come first.
    const ordered = texts.sort((a, b) => b.length - a.length);
    this.longest = ordered[0]?.length ?? 0;
    this.values = ordered.length === 0 ? undefined : new RegExp(ordered.map(escaped).join('|'), 'g');
  }

  /** The next bytes that may be shown. */
  take(piece: Uint8Array): Buffer {
    if (this.values === undefined) return Buffer.from(piece);
    return this.release(this.held + Buffer.from(piece).toString('latin1'), this.longest - 1);
  }

  /** The last bytes, once the stream has ended. */
  end(): Buffer {
    return this.release(this.held, 0);
  }

  /** Shows all but the last characters, in which a value may begin. */
  private release(text: string, undecided: number): Buffer {
    const decided = Math.max(0, text.length - undecided);
    let shown = '';
    let at = 0;
    for (const match of this.values === undefined ? [] : text.matchAll(this.values)) {
      if (match.index >= decided) break;
      shown += text.slice(at, match.index) + REPLACEMENT;
      at = match.index + match[0].length;
    }
    const end = Math.max(at, decided);
    this.held = text.slice(end);
    return Buffer.from(shown + text.slice(at, end), 'latin1');
  }
}

function escaped(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&');
}
