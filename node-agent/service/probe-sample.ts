/**
 * What one look at a service is told, and what it answers. Invariant: what could not be asked is an
 * `error` and never `good`; missing data fails every gate.
 */

/** `bad`: it answered, and not as it should. `error`: it could not be asked. */
export interface ProbeSample {
  readonly result: 'good' | 'bad' | 'error';
  /** For people. A good sample says the same as the one before, unless the service says something else. */
  readonly reason: string;
}

/** What the probes look at, besides an address. */
export interface ProbeSubject {
  /** The folder in which programs start, absolute. */
  readonly cwd: string;
  /** The ids of all live processes of the service. */
  pids(): Promise<number[]>;
  /** The whole environment of programs. */
  env(): Promise<Readonly<Record<string, string>>>;
}

/** One try. */
export interface ProbeTry {
  /** The version that the service must say of itself; undefined when any will do. */
  readonly expectedVersion: string | undefined;
  /** The most milliseconds for the whole exchange. */
  readonly tryMs: number;
  readonly subject: ProbeSubject;
  /** Cancels it. */
  readonly signal?: AbortSignal | undefined;
}

/** Why an exchange failed, as a part of a sentence: the end of its time before the system's words. */
export function whyFailed(signal: AbortSignal, error: unknown): string {
  const thrown = signal.aborted ? signal.reason : error;
  if (!(thrown instanceof Error)) return String(thrown);
  if (thrown.name === 'AbortError') return 'it was cancelled';
  if ('code' in thrown && thrown.code === 'ECONNREFUSED') return 'connection refused';
  return thrown.message;
}
