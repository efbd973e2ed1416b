/**
 * Asks a service whether it is healthy: over HTTP (status, and the version that it says of itself)
 * or by connecting over TCP. Health before commit means several good samples in a row, all probes of
 * a sample good, and the process alive; a running process alone proves nothing, and no probe at all
 * fails (design.md, decisions 11 and 15). Asks densely at first, because the wait for the first good
 * answer is time in which the node's users have no service (performance.md).
 */
import http from 'node:http';
import https from 'node:https';
import net from 'node:net';
import { limits } from '../../config/limits.js';
import type { ProbeConfig } from '../../config/schema/probes.js';
import { type MonotonicClock, monotonicClock } from './clock.js';

/** How to ask. */
export type Probe = ProbeConfig;

/** `bad`: it answered, and not as it should. `error`: it could not be asked. */
export interface ProbeSample {
  readonly result: 'good' | 'bad' | 'error';
  readonly reason: string;
}

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
  for (let samples = 1; ; samples++) {
    const askedAt = clock.now();
    const tryMs = Math.max(1, Math.min(policy.tryMs, endsAt - askedAt));
    const sample = await sampleAll(order.probes, order.expectedVersion, tryMs, order.signal);
    const alive = await order.isRunning();
    const good = alive && sample.result === 'good';
    goodInARow = good ? goodInARow + 1 : 0;
    if (goodInARow === 1) firstGoodMs = clock.now() - begunAt;
    const outcome = { samples, ...(goodInARow > 0 && firstGoodMs !== undefined ? { firstGoodMs } : {}) };
    order.onSample?.(goodInARow, needed);
    if (goodInARow >= needed) return { good: true, reason: sample.reason, ...outcome };
    if (order.signal?.aborted === true) return { good: false, reason: 'it was cancelled', ...outcome };
    if (!alive) return { good: false, reason: `its process has ended (${sample.reason})`, ...outcome };
    const pauseMs = good ? Math.max(0, policy.spacingMs - (clock.now() - askedAt)) : distanceMs;
    if (clock.now() + pauseMs >= endsAt) {
      return { good: false, reason: tooLate(order.timeoutMs, goodInARow, needed, sample), ...outcome };
    }
    distanceMs = good ? FIRST_DISTANCE_MS : Math.min(distanceMs * DISTANCE_GROWTH, policy.intervalMaxMs);
    await clock.sleep(pauseMs, order.signal);
  }
}

/** One sample of all probes at once: good only when every one is. */
export async function sampleAll(
  probes: readonly Probe[],
  expectedVersion: string | undefined,
  tryMs: number,
  signal?: AbortSignal,
): Promise<ProbeSample> {
  const samples = await Promise.all(
    probes.map((probe) => sampleProbe(probe, expectedVersion, tryMs, signal)),
  );
  const worst = samples.find(({ result }) => result !== 'good') ?? samples[0];
  return worst ?? { result: 'error', reason: 'no probe is configured, so nothing can tell its health' };
}

/** Asks once. `tryMs` bounds the whole exchange. Never rejects; a cancelled one is an `error`. */
export async function sampleProbe(
  probe: Probe,
  expectedVersion: string | undefined,
  tryMs: number,
  signal?: AbortSignal,
): Promise<ProbeSample> {
  if (probe.kind !== 'http' && probe.kind !== 'tcp')
    return { result: 'error', reason: `this agent knows no ${probe.kind} probe` };
  const where = probe.kind === 'http' ? probe.url : probe.address;
  const over = new AbortController();
  const timer = setTimeout(() => over.abort(new Error(`no answer within ${Math.round(tryMs)} ms`)), tryMs);
  const either = signal === undefined ? over.signal : AbortSignal.any([over.signal, signal]);
  try {
    if (probe.kind === 'tcp') return await connect(probe.address, either);
    return judgeAnswer(probe, expectedVersion, await ask(probe.url, either));
  } catch (error) {
    return { result: 'error', reason: `${where}: ${whyFailed(either, error)}` };
  } finally {
    clearTimeout(timer);
  }
}

interface HttpAnswer {
  readonly status: number;
  /** Undefined when it was longer than the bound. */
  readonly body: Buffer | undefined;
}

/** A request on a connection of its own: a kept one would prove that an old process still answers. */
function ask(url: string, signal: AbortSignal): Promise<HttpAnswer> {
  const { request } = url.startsWith('https:') ? https : http;
  return new Promise((resolve, reject) => {
    const asked = request(url, { agent: false, signal, headers: { accept: 'application/json' } });
    asked.once('error', reject);
    asked.once('response', (response) => {
      const pieces: Buffer[] = [];
      let sizeBytes = 0;
      response.on('data', (piece: Buffer) => {
        sizeBytes += piece.length;
        pieces.push(piece);
        if (sizeBytes <= limits.probeAnswerBytes) return;
        resolve({ status: response.statusCode ?? 0, body: undefined });
        asked.destroy();
      });
      response.once('end', () => resolve({ status: response.statusCode ?? 0, body: Buffer.concat(pieces) }));
      response.once('error', reject);
    });
    asked.end();
  });
}

function judgeAnswer(
  probe: Extract<Probe, { kind: 'http' }>,
  expectedVersion: string | undefined,
  answer: HttpAnswer,
): ProbeSample {
  const bad = (what: string): ProbeSample => ({ result: 'bad', reason: `${probe.url} ${what}` });
  if (answer.status !== probe.status) return bad(`answered ${answer.status}, not ${probe.status}`);
  if (answer.body === undefined) return bad(`answered more than ${limits.probeAnswerBytes} bytes`);
  if (probe.versionField === undefined || expectedVersion === undefined) {
    return { result: 'good', reason: `${probe.url} answered ${answer.status}` };
  }
  const said = fieldOf(answer.body, probe.versionField);
  if (said === undefined) return bad(`answered no JSON with the text field ${probe.versionField}`);
  if (said !== expectedVersion) return bad(`says version ${said.slice(0, 64)}, not ${expectedVersion}`);
  return { result: 'good', reason: `${probe.url} answered ${answer.status} with version ${said}` };
}

/** The text at a dotted path in a JSON answer; a number is no version (`3.0` would have become 3). */
function fieldOf(body: Buffer, dottedPath: string): string | undefined {
  let value: unknown;
  try {
    value = JSON.parse(body.toString('utf8'));
  } catch {
    return undefined;
  }
  for (const name of dottedPath.split('.')) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined;
    value = Object.entries(value).find(([key]) => key === name)?.[1];
  }
  return typeof value === 'string' ? value : undefined;
}

function connect(address: string, signal: AbortSignal): Promise<ProbeSample> {
  const colon = address.lastIndexOf(':');
  const host = address.slice(0, colon).replace(/^\[|\]$/g, '');
  return new Promise((resolve, reject) => {
    const socket = net.connect({ host, port: Number(address.slice(colon + 1)), signal });
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.destroy();
      resolve({ result: 'good', reason: `${address} accepts connections` });
    });
  });
}

function whyFailed(signal: AbortSignal, error: unknown): string {
  const thrown = signal.aborted ? signal.reason : error;
  if (!(thrown instanceof Error)) return String(thrown);
  if (thrown.name === 'AbortError') return 'it was cancelled';
  if ('code' in thrown && thrown.code === 'ECONNREFUSED') return 'connection refused';
  return thrown.message;
}

function tooLate(timeoutMs: number, goodInARow: number, needed: number, last: ProbeSample): string {
  return `not good ${needed} times in a row within ${timeoutMs} ms (${goodInARow} at the end; last: ${last.reason})`;
}
