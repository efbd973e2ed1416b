/**
 * One http request to a release repository. Invariant: redirects are few and never lead from https to
 * http, no credentials are sent, nothing is decoded on the way, and no answer is waited for without
 * end. What may pass is DOWNLOAD_FAILED; what would be the same at every try is not.
 */
import { PlexiError } from '../../config/errors.js';
import { limits } from '../../config/limits.js';

/** One GET that follows a few redirects; fails unless the answer is 200 or 206. */
export async function request(
  url: URL,
  signal: AbortSignal,
  headers: Record<string, string> = {},
): Promise<Response> {
  let at = url;
  for (let hop = 0; hop <= limits.downloadRedirects; hop += 1) {
    const response = await fetch(at, {
      ...{
        headers: { ...headers, 'accept-encoding': 'identity' },
        redirect: 'manual',
        credentials: 'omit',
        signal,
      },
    });
    const target = response.headers.get('location');
    if (response.status < 300 || response.status > 399 || target === null) return accepted(at, response);
    await response.body?.cancel();
    at = redirected(at, target);
  }
  throw new PlexiError('RELEASE_NOT_FOUND', `${url} redirects more than ${limits.downloadRedirects} times.`);
}

function redirected(from: URL, target: string): URL {
  const url = URL.canParse(target, from.href) ? new URL(target, from.href) : undefined;
  const isSafe = url?.protocol === 'https:' || (url?.protocol === 'http:' && from.protocol === 'http:');
  if (url !== undefined && isSafe && url.username === '' && url.password === '') return url;
  throw new PlexiError('RELEASE_NOT_FOUND', `${from} redirects to a place that may not be followed.`);
}

async function accepted(url: URL, response: Response): Promise<Response> {
  const { status } = response;
  if (status === 200 || status === 206) return response;
  await response.body?.cancel();
  const mayPass = status >= 500 || status === 408 || status === 429;
  throw new PlexiError(
    mayPass ? 'DOWNLOAD_FAILED' : 'RELEASE_NOT_FOUND',
    mayPass
      ? `${url} answered ${status}; the server of the release repository is in trouble.`
      : `${url} answered ${status}; see whether the release is published there and may be read.`,
    { details: { status } },
  );
}

/** The bytes of an answer. */
export async function* bodyOf(response: Response): AsyncGenerator<Uint8Array> {
  if (response.body === null) return;
  for await (const chunk of response.body) {
    if (!(chunk instanceof Uint8Array)) throw new TypeError('the body is not made of bytes');
    yield chunk;
  }
}

/** What went wrong, in one type; the caller's own abort stays what it is. */
export function failure(url: URL, thrown: unknown, caller: AbortSignal | undefined): unknown {
  if (caller?.aborted === true) return caller.reason;
  if (thrown instanceof PlexiError) return thrown;
  return new PlexiError('DOWNLOAD_FAILED', `${url} could not be read to its end: ${reasonOf(thrown)}.`, {
    cause: thrown,
  });
}

/** `fetch failed` says nothing; its cause does. */
function reasonOf(thrown: unknown): string {
  if (!(thrown instanceof Error)) return String(thrown);
  if (thrown.cause instanceof Error) return reasonOf(thrown.cause);
  return 'code' in thrown && thrown.message === '' ? String(thrown.code) : thrown.message;
}

/** Aborts when no byte came for a while, or when the caller aborts. */
export class IdleLimit {
  readonly signal: AbortSignal;
  readonly caller: AbortSignal;
  readonly #timer: NodeJS.Timeout;

  constructor(caller: AbortSignal) {
    const idle = new AbortController();
    const reason = new Error(`no byte came for ${limits.downloadIdleMs} ms`);
    // A stalled socket keeps the process alive by itself; the timer need not.
    this.#timer = setTimeout(() => idle.abort(reason), limits.downloadIdleMs).unref();
    this.caller = caller;
    this.signal = AbortSignal.any([caller, idle.signal]);
  }

  /** A byte came. */
  touch(): void {
    this.#timer.refresh();
  }

  /** Nothing more is awaited. */
  end(): void {
    clearTimeout(this.#timer);
  }
}
