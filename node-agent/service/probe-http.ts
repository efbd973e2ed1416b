/**
 * The http probe: the status of an answer, and the version that the service says of itself in it. The
 * name of a version is a text; a number is none, since `3.0` would have become 3.
 */
import http from 'node:http';
import https from 'node:https';
import { limits } from '../../config/limits.js';
import type { ProbeConfig } from '../../config/schema/probes.js';
import type { ProbeSample } from './probe-sample.js';

type HttpProbe = Extract<ProbeConfig, { kind: 'http' }>;

/** Asks once. Errors: the system's, and the signal's. */
export async function sampleHttp(
  probe: HttpProbe,
  expectedVersion: string | undefined,
  signal: AbortSignal,
): Promise<ProbeSample> {
  return judgeAnswer(probe, expectedVersion, await ask(probe.url, signal));
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

function judgeAnswer(probe: HttpProbe, expectedVersion: string | undefined, answer: HttpAnswer): ProbeSample {
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
