/**
 * Watches the service for as long as the agent lives. Two answers, on purpose of different patience:
 * `goodForMs` is for the soak and falls to zero at the first bad sample (protocol.md, rule 31);
 * `health` is for people and for the controller's judgement, and becomes `unhealthy` only after three
 * bad samples in a row, because one probe flap must roll nothing back (elastic-agent #15557).
 * Time that no sample covers does not count: a soak is proved by samples, not by their absence.
 */
import { EventEmitter } from 'node:events';
import { type MonotonicClock, monotonicClock } from './clock.js';
import { type Probe, sampleAll } from './probe.js';
import type { ProbeSample, ProbeSubject } from './probe-sample.js';

/** What is known of the service's health; `unknown` until there is a sample, and while paused. */
export type Health = 'unknown' | 'healthy' | 'unhealthy';

/** How a monitor is made. */
export interface MonitorOptions {
  readonly probes: readonly Probe[];
  /** Milliseconds between the end of a sample and the next one. */
  readonly intervalMs: number;
  /** The most milliseconds for one try; 5,000 when it is not said. */
  readonly tryMs?: number;
  /** Whether the service's process lives. When it does not, another program answers in its place. */
  readonly isRunning?: () => Promise<boolean>;
  /** What probes look at that ask no address. */
  readonly subject: ProbeSubject;
  readonly clock?: MonotonicClock;
}

/** The most time for one try, where the options do not say (design.md, section 7). */
const TRY_MS = 5_000;

/** Bad samples in a row that make the health `unhealthy`. */
const BAD_IN_A_ROW = 3;

/**
 * Samples continuously. Emits `change` when health, reason or the unbroken row changed, and `sample`
 * after every sample that counted.
 */
export class HealthMonitor extends EventEmitter<{ change: []; sample: [] }> {
  private readonly clock: MonotonicClock;
  private intervalMs: number;
  private expectedVersion: string | undefined;
  private currentHealth: Health = 'unknown';
  private currentReason = 'not sampled yet';
  private firstGoodAt: number | undefined;
  private lastGoodAt: number | undefined;
  private badInARow = 0;
  private paused = false;
  /** Raised by everything that makes a sample under way meaningless. */
  private generation = 0;
  private stopping = new AbortController();
  private waking = new AbortController();
  private loop: Promise<void> | undefined;

  constructor(private readonly options: MonitorOptions) {
    super();
    this.clock = options.clock ?? monotonicClock;
    this.intervalMs = options.intervalMs;
  }

  get health(): Health {
    return this.currentHealth;
  }

  /** Why the health is what it is: the last sample's sentence. */
  get reason(): string {
    return this.currentReason;
  }

  /** Milliseconds from the first to the last of the unbroken good samples; 0 after a bad one. */
  goodForMs(): number {
    if (this.firstGoodAt === undefined || this.lastGoodAt === undefined) return 0;
    return this.lastGoodAt - this.firstGoodAt;
  }

  /** Begins to sample, at once. Called again, it changes nothing. */
  start(): void {
    if (this.loop !== undefined) return;
    this.stopping = new AbortController();
    this.loop = this.run(this.stopping.signal);
  }

  /** Ends the sampling, and resolves when no sample is under way. */
  async stop(): Promise<void> {
    this.stopping.abort();
    this.waking.abort();
    await this.loop;
    this.loop = undefined;
  }

  /** Changes how dense the samples are; the next one is taken at once. */
  setInterval(intervalMs: number): void {
    this.intervalMs = intervalMs;
    this.waking.abort();
  }

  /** The version that the service must say of itself from now on; forgets all samples of before. */
  expect(version: string | undefined): void {
    if (version === this.expectedVersion) return;
    this.expectedVersion = version;
    this.reset();
  }

  /** Takes no samples until `resume`: the service is down on purpose. */
  pause(): void {
    this.paused = true;
    this.forget('paused: the service is down on purpose');
  }

  /** Samples again, at once. */
  resume(): void {
    if (!this.paused) return;
    this.paused = false;
    this.reset();
  }

  /** Begins to count anew, and takes a sample at once. What was under way does not count. */
  reset(): void {
    if (this.paused) return;
    this.forget('not sampled yet');
    this.waking.abort();
  }

  private forget(reason: string): void {
    this.generation++;
    this.badInARow = 0;
    this.breakRow();
    this.become('unknown', reason, true);
  }

  private async run(stopping: AbortSignal): Promise<void> {
    while (!stopping.aborted) {
      this.waking = new AbortController();
      const { generation } = this;
      if (!this.paused) {
        const sample = await this.sample(stopping);
        // A sample that began before a reset tells nothing of what is asked for now.
        if (generation === this.generation && !stopping.aborted) this.take(sample);
      }
      await this.clock.sleep(this.intervalMs, AbortSignal.any([stopping, this.waking.signal]));
    }
  }

  private async sample(stopping: AbortSignal): Promise<ProbeSample> {
    const { probes, tryMs = TRY_MS, isRunning, subject } = this.options;
    const { expectedVersion } = this;
    const sample = await sampleAll(probes, { expectedVersion, tryMs, subject, signal: stopping });
    try {
      if (isRunning === undefined || (await isRunning())) return sample;
    } catch (error) {
      return { result: 'error', reason: error instanceof Error ? error.message : String(error) };
    }
    return { result: 'error', reason: 'the process of the service does not run' };
  }

  private take(sample: ProbeSample): void {
    this.judge(sample);
    this.emit('sample');
  }

  private judge(sample: ProbeSample): void {
    const hadRow = this.firstGoodAt !== undefined;
    if (sample.result === 'good') {
      this.badInARow = 0;
      this.lastGoodAt = this.clock.now();
      this.firstGoodAt ??= this.lastGoodAt;
      this.become('healthy', sample.reason, !hadRow);
      return;
    }
    this.badInARow++;
    this.breakRow();
    const health = this.badInARow >= BAD_IN_A_ROW ? 'unhealthy' : this.currentHealth;
    this.become(health, sample.reason, hadRow);
  }

  private breakRow(): void {
    this.firstGoodAt = undefined;
    this.lastGoodAt = undefined;
  }

  private become(health: Health, reason: string, rowChanged: boolean): void {
    const changed = rowChanged || health !== this.currentHealth || reason !== this.currentReason;
    this.currentHealth = health;
    this.currentReason = reason;
    if (changed) this.emit('change');
  }
}
