/**
 * A journal's disk in memory that can die: from the operation on that a test names, nothing is done
 * any more and every call fails, as it is for a process that was killed. What was stored stays, and
 * `revived` gives it to the next life.
 */
import type { JournalDisk } from './journal.js';

/** Where the process dies: at the n-th call of its kind (from 1), before or after its effect. */
export interface Death {
  readonly at: 'create' | 'remove';
  readonly call: number;
  readonly effect: 'lost' | 'kept';
}

export class MemoryJournalDisk implements JournalDisk {
  /** Calls since this life began. */
  readonly calls = { create: 0, remove: 0 };
  private dead = false;

  constructor(
    private readonly death: Death | undefined = undefined,
    readonly files: Map<string, Uint8Array> = new Map(),
  ) {}

  /** The same files, in a new life. */
  revived(death?: Death): MemoryJournalDisk {
    return new MemoryJournalDisk(death, this.files);
  }

  /** What stands in the records, oldest first. */
  records(): Record<string, unknown>[] {
    return [...this.files.keys()].sort().map((name) => {
      const record: Record<string, unknown> = JSON.parse(
        Buffer.from(this.files.get(name) ?? []).toString('utf8'),
      );
      return record;
    });
  }

  /** The process dies now, in the middle of something else. */
  die(): void {
    this.dead = true;
  }

  async list(): Promise<string[]> {
    this.refuseWhenDead();
    return [...this.files.keys()];
  }

  async read(name: string): Promise<Uint8Array | undefined> {
    this.refuseWhenDead();
    return this.files.get(name);
  }

  async create(name: string, bytes: Uint8Array): Promise<void> {
    this.act('create', () => {
      if (this.files.has(name)) throw new Error(`${name} is taken`);
      this.files.set(name, bytes);
    });
  }

  async remove(name: string): Promise<void> {
    this.act('remove', () => this.files.delete(name));
  }

  private act(kind: 'create' | 'remove', effect: () => void): void {
    this.refuseWhenDead();
    this.calls[kind]++;
    const { death } = this;
    this.dead = death !== undefined && death.at === kind && death.call === this.calls[kind];
    if (!this.dead || death?.effect === 'kept') effect();
    this.refuseWhenDead();
  }

  private refuseWhenDead(): void {
    if (this.dead) throw new Error('the process was killed');
  }
}
