/**
 * Reads a stream of bytes in the portions that a format asks for: exactly so many, or so many as a
 * stream of their own. Holds no more than one portion and one piece of the source at a time.
 */
export class ByteQueue {
  private readonly source: AsyncIterator<Uint8Array>;
  private rest: Buffer = Buffer.alloc(0);

  constructor(source: AsyncIterable<Uint8Array>) {
    this.source = source[Symbol.asyncIterator]();
  }

  /** The next `length` bytes; fewer only when the stream ends before. */
  async take(length: number): Promise<Buffer> {
    if (this.rest.length >= length) return this.cut(length);
    const pieces = [this.rest];
    let have = this.rest.length;
    while (have < length) {
      const piece = await this.nextPiece();
      if (piece === undefined) break;
      pieces.push(piece);
      have += piece.length;
    }
    this.rest = Buffer.concat(pieces, have);
    return this.cut(length);
  }

  /** The next `length` bytes piece by piece; fewer only when the stream ends before. */
  async *stream(length: number): AsyncGenerator<Buffer> {
    let wanted = length;
    while (wanted > 0) {
      if (this.rest.length === 0) {
        const piece = await this.nextPiece();
        if (piece === undefined) return;
        this.rest = piece;
      }
      const part = this.cut(wanted);
      wanted -= part.length;
      yield part;
    }
  }

  /** Tells the source that no more is wanted, so that it can close what it holds. */
  async close(): Promise<void> {
    await this.source.return?.();
  }

  private cut(length: number): Buffer {
    const part = this.rest.subarray(0, length);
    this.rest = this.rest.subarray(part.length);
    return part;
  }

  private async nextPiece(): Promise<Buffer | undefined> {
    const { value, done } = await this.source.next();
    if (done === true) return undefined;
    return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  }
}
