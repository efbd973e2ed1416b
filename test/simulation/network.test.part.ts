/** What lies between controllers, agents and etcd: it delays, loses, repeats and cuts, while it may. */
import type { Clock } from './clock.test.part.js';
import type { Drawn } from './drawn.test.part.js';
import { Random } from './random.test.part.js';

export class Network {
  /** No more faults: every message arrives, soon, and once. */
  isCalm = false;
  /** Faults that happened, by name. */
  readonly happened = new Map<string, number>();
  /** Until then etcd answers nobody. */
  etcdBackAtMs = 0;
  private readonly cuts = new Map<string, number>();
  private readonly random: Random;

  constructor(
    private readonly clock: Clock,
    private readonly drawn: Drawn,
  ) {
    this.random = new Random(drawn.seed, 'network');
  }

  /** Cuts one direction for a while. */
  cut(from: string, to: string, forMs: number): void {
    this.cuts.set(`${from}>${to}`, this.clock.nowMs + forMs);
  }

  isCut(from: string, to: string): boolean {
    if (this.isCalm) return false;
    const { nowMs } = this.clock;
    if ((from === 'etcd' || to === 'etcd') && this.etcdBackAtMs > nowMs) return true;
    return (this.cuts.get(`${from}>${to}`) ?? 0) > nowMs;
  }

  /** Milliseconds that the next message takes. */
  delayMs(): number {
    const usual = this.random.between(1, 8);
    if (this.isCalm || !this.random.isIt(this.drawn.chance.delays / 4)) return usual;
    this.count('delays');
    return usual + this.random.between(0, 500);
  }

  /** Whether a message does not arrive. */
  loses(from: string, to: string): boolean {
    if (this.isCut(from, to)) return true;
    return this.chance('loss');
  }

  /** Whether a connection that itself repeats what is lost breaks with this message. */
  breaks(from: string, to: string): boolean {
    if (this.isCut(from, to)) return true;
    return !this.isCalm && this.random.isIt(this.drawn.chance.loss / 4) && this.count('loss');
  }

  /** Whether something that a steady fault brings happens now. */
  chance(fault: keyof Drawn['chance']): boolean {
    if (this.isCalm || !this.random.isIt(this.drawn.chance[fault])) return false;
    return this.count(fault);
  }

  between(least: number, most: number): number {
    return this.random.between(least, most);
  }

  count(fault: string): true {
    this.happened.set(fault, (this.happened.get(fault) ?? 0) + 1);
    return true;
  }
}
