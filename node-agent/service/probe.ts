/**
 * Tells whether a service is healthy: how often it is asked, and when that is enough; each kind of
 * probe has a file of its own. Health before commit means several good samples in a row, all probes of
 * a sample good, and the process alive; a running process alone proves nothing, and no probe at all
 * fails (design.md, decisions 11 and 15). Asks densely at first, because the wait for the first good
 * answer is time in which the node's users have no service (performance.md).
 */
import type { ProbeConfig } from '../../config/schema/probes.js';
import { type MonotonicClock, monotonicClock } from './clock.js';
import { sampleCommand } from './probe-command.js';
import { sampleGrpc } from './probe-grpc.js';
import { sampleHttp } from './probe-http.js';
import { sampleResources } from './probe-resources.js';
import { type ProbeSample, type ProbeSubject, type ProbeTry, whyFailed } from './probe-sample.js';
import { sampleTcp } from './probe-tcp.js';

/** How to ask. */
export type Probe = ProbeConfig;

/** How many good samples make health, and how dense they are. Milliseconds. */
export interface ProbePolicy {
  readonly goodInARow: number;
  /** The least time between two good samples that both count. */
  readonly spacingMs: number;
  /** The most time between two samples. */
  readonly intervalMaxMs: number;
  /** The most time for one try. */
  readonly tryMs: number;
}

/** What `probeUntilGood` is told. */
export interface ProbeOrder {
  readonly probes: readonly Probe[];
  /** The version that the service must say of itself, where a probe has a version field. */
  readonly expectedVersion?: string | undefined;
  readonly policy: ProbePolicy;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  readonly subject: ProbeSubject;
  /** Whether the service's process lives; when not, waiting on makes no sense. */
  readonly isRunning: () => Promise<boolean>;
  /** Called after each sample with the good ones in a row, and how many are needed. */
  readonly onSample?: (good: number, needed: number) => void;
  readonly clock?: MonotonicClock;
}

/** What came out. */
export interface ProbeOutcome {
  readonly good: boolean;
  /** Why not, or what the last good sample said. */
  readonly reason: string;
  readonly samples: number;
  /** Milliseconds until the first sample of the last unbroken good row. */
  readonly firstGoodMs?: number;
}

/** The first distance between two samples of a service that is not healthy yet, and its growth. */
const FIRST_DISTANCE_MS = 20;
const DISTANCE_GROWTH = 1.5;

/** Samples until enough are good in a row, or the time is over, or the service has died. */
export async function probeUntilGood(order: ProbeOrder): Promise<ProbeOutcome> {
  const clock = order.clock ?? monotonicClock;
  const { policy } = order;
  const needed = Math.max(1, policy.goodInARow);
  const begunAt = clock.now();
  const endsAt = begunAt + order.timeoutMs;
  let goodInARow = 0;
  let distanceMs = FIRST_DISTANCE_MS;
  let firstGoodMs: number | undefined;
  let telling: ProbeSample | undefined;
  let before: ProbeSample | undefined;
  for (let samples = 1; ; samples++) {
    const askedAt = clock.now();
    const tryMs = Math.min(policy.tryMs, Math.max(1, endsAt - askedAt));
    const { expectedVersion, subject, signal } = order;
    const sample = await sampleAll(order.probes, { expectedVersion, tryMs, subject, signal });
    // A try that the end of the whole time cut short tells less than the one before it.
    const isCut = sample.result === 'error' && tryMs < policy.tryMs;
    if (!isCut || telling === undefined) telling = sample;
    const alive = await order.isRunning();
    const good = alive && sample.result === 'good';
    goodInARow = good ? goodInARow + 1 : 0;
    if (goodInARow === 1) firstGoodMs = clock.now() - begunAt;
    const outcome = { samples, ...(goodInARow > 0 && firstGoodMs !== undefined ? { firstGoodMs } : {}) };
    order.onSample?.(goodInARow, needed);
    if (goodInARow >= needed) return { good: true, reason: sample.reason, ...outcome };
    if (signal?.aborted === true) return { good: false, reason: cancelled(before), ...outcome };
    before = sample;
    if (!alive) return { good: false, reason: `its process has ended (${sample.reason})`, ...outcome };
    const pauseMs = good ? Math.max(0, policy.spacingMs - (clock.now() - askedAt)) : distanceMs;
    if (clock.now() + pauseMs >= endsAt) {
      return { good: false, reason: tooLate(order.timeoutMs, goodInARow, needed, telling), ...outcome };
    }
    distanceMs = good ? FIRST_DISTANCE_MS : Math.min(distanceMs * DISTANCE_GROWTH, policy.intervalMaxMs);
    await clock.sleep(pauseMs, order.signal);
  }
}

/** What the service said before it was asked no longer. */
function cancelled(before: ProbeSample | undefined): string {
  return before === undefined ? 'it was cancelled' : `it was cancelled, and said before: ${before.reason}`;
}

/** One sample of all probes at once: good only when every one is. */
export async function sampleAll(probes: readonly Probe[], asked: ProbeTry): Promise<ProbeSample> {
  const samples = await Promise.all(probes.map((probe) => sampleProbe(probe, asked)));
  const worst = samples.find(({ result }) => result !== 'good') ?? samples[0];
  return worst ?? { result: 'error', reason: 'no probe is configured, so nothing can tell its health' };
}

/** Asks once, in a bounded time. Never rejects; a cancelled one is an `error`. */
export async function sampleProbe(probe: Probe, asked: ProbeTry): Promise<ProbeSample> {
  const { tryMs, signal } = asked;
  const over = new AbortController();
  const timer = setTimeout(() => over.abort(new Error(`no answer within ${Math.round(tryMs)} ms`)), tryMs);
  const either = signal === undefined ? over.signal : AbortSignal.any([over.signal, signal]);
  try {
    return await sampleKind(probe, asked, either);
  } catch (error) {
    return { result: 'error', reason: `${placeOf(probe)}: ${whyFailed(either, error)}` };
  } finally {
    clearTimeout(timer);
  }
}

/** @param signal the end of the try's time, or the cancellation */
function sampleKind(probe: Probe, asked: ProbeTry, signal: AbortSignal): Promise<ProbeSample> {
  switch (probe.kind) {
    case 'http':
      return sampleHttp(probe, asked.expectedVersion, signal);
    case 'tcp':
      return sampleTcp(probe.address, signal);
    case 'command':
      return sampleCommand(probe, asked);
    case 'grpc':
      return sampleGrpc(probe, signal);
    case 'resources':
      return sampleResources(probe, asked.subject);
  }
}

/** What a failed try is told of, for people. */
function placeOf(probe: Probe): string {
  switch (probe.kind) {
    case 'http':
      return probe.url;
    case 'tcp':
    case 'grpc':
      return probe.address;
    case 'command':
      return probe.argv[0] ?? 'the command';
    case 'resources':
      return 'what the service uses';
  }
}

function tooLate(timeoutMs: number, goodInARow: number, needed: number, last: ProbeSample): string {
  return `not good ${needed} times in a row within ${timeoutMs} ms (${goodInARow} at the end; last: ${last.reason})`;
}
