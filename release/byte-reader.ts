/**
 * Reads a stream of chunks as exact numbers of bytes. Invariant: it holds one chunk of its source at
 * a time and joins bytes only up to the small count that a caller asks for, so a stream of any
 * length, or one that lies about its length, costs bounded memory.
 */

/** Takes bytes off an async source in the caller's portions. */
export class ByteReader {
  readonly #source: AsyncIterator<Uint8Array>;
  #rest: Buffer = Buffer.alloc(0);

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** The next bytes, exactly `count`; undefined when the source ended before the first of them. */
  async take(count: number): Promise<Buffer | undefined> {
    const parts: Buffer[] = [];
    for (let missing = count; missing > 0; ) {
      const part = await this.next(missing);
      if (part === undefined) break;
      parts.push(part);
      missing -= part.length;
    }
    const taken = Buffer.concat(parts);
    if (taken.length === count) return taken;
    if (taken.length === 0) return undefined;
    throw new UnexpectedEnd();
  }

  /** The next `count` bytes in chunks as they come; throws UnexpectedEnd when there are fewer. */
  async *stream(count: number): AsyncGenerator<Buffer> {
    for (let missing = count; missing > 0; ) {
      const part = await this.next(missing);
      if (part === undefined) throw new UnexpectedEnd();
      missing -= part.length;
      yield part;
    }
  }

  /** Between one and `countMax` bytes; undefined at the end. */
  async next(countMax: number): Promise<Buffer | undefined> {
    while (this.#rest.length === 0) {
      const { value, done } = await this.#source.next();
      if (done === true) return undefined;
      this.#rest = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
    }
    const part = this.#rest.subarray(0, countMax);
    this.#rest = this.#rest.subarray(part.length);
    return part;
  }
}

/** The source ended in the middle of something. */
export class UnexpectedEnd extends Error {
  constructor() {
    super('the stream ended too early');
    this.name = 'UnexpectedEnd';
  }
}
