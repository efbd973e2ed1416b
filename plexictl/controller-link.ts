/**
 * The connection to one controller replica. It keeps three outcomes apart, because only the caller
 * knows what may be tried again: an answer (a value, or a PlexiError that the controller sent), no
 * connection at all (`NotConnected`: nothing was sent), and a connection that broke while an answer
 * was awaited (`ConnectionLost`: nobody knows whether the call ran).
 */
import {
  type ChannelCredentials,
  type ChannelOptions,
  Client,
  type ClientReadableStream,
  connectivityState,
  type MethodDefinition,
  type ServiceError,
  status,
} from '@grpc/grpc-js';
import { closeChannel } from '../config/close-channel.js';
import { PlexiError } from '../config/errors.js';
import { fromServiceError, isServiceError } from '../config/grpc-status.js';
import { limits } from '../config/limits.js';

/** No connection could be made: nothing was sent. */
export class NotConnected extends Error {}

/** The connection broke before the answer came: the call may have run. */
export class ConnectionLost extends Error {}

/** Somebody waits at a terminal: a dead host shows within eight seconds, also on a silent stream. */
const patience: ChannelOptions = {
  'grpc.keepalive_time_ms': 5_000,
  'grpc.keepalive_timeout_ms': 3_000,
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 1_000,
};

/** One controller replica. */
export class ControllerLink {
  /** HOST:PORT. */
  readonly address: string;
  readonly #client: Client;

  constructor(address: string, credentials: ChannelCredentials, options: ChannelOptions) {
    this.address = address;
    this.#client = new Client(address, credentials, { ...options, ...patience });
  }

  /** Makes sure that there is a connection. Throws NotConnected. */
  async connect(): Promise<void> {
    const deadline = Date.now() + limits.controllerConnectMs;
    const channel = this.#client.getChannel();
    for (;;) {
      const state = channel.getConnectivityState(true);
      if (state === connectivityState.READY) return;
      const given = state === connectivityState.TRANSIENT_FAILURE || state === connectivityState.SHUTDOWN;
      const changed =
        !given &&
        (await new Promise<boolean>((resolve) => {
          channel.watchConnectivityState(state, deadline, (error) => resolve(error === undefined));
        }));
      if (!changed) throw new NotConnected(`no connection to ${this.address}`);
    }
  }

  /**
   * One call, one answer. Throws PlexiError (the controller's own), NotConnected or ConnectionLost; the
   * last also when the signal ends the wait, which leaves the controller at work.
   */
  async unary<Request, Response>(
    method: MethodDefinition<Request, Response>,
    request: Request,
    timeoutMs: number,
    signal?: AbortSignal,
  ): Promise<Response> {
    await this.connect();
    return new Promise((resolve, reject) => {
      const call = this.#client.makeUnaryRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize,
        request,
        { deadline: Date.now() + timeoutMs },
        (error, response) => {
          signal?.removeEventListener('abort', cancel);
          if (error !== null) reject(this.#failure(error));
          else if (response === undefined) reject(new ConnectionLost(`${this.address} sent no answer`));
          else resolve(response);
        },
      );
      const cancel = (): void => call.cancel();
      signal?.addEventListener('abort', cancel, { once: true });
      if (signal?.aborted) cancel();
    });
  }

  /** One call, many answers, until the controller ends them or the signal is aborted. Throws as `unary`. */
  async *stream<Request, Response>(
    method: MethodDefinition<Request, Response>,
    request: Request,
    signal: AbortSignal,
  ): AsyncGenerator<Response, void> {
    await this.connect();
    const answers: ClientReadableStream<Response> = this.#client.makeServerStreamRequest(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
      request,
    );
    const cancel = (): void => answers.cancel();
    signal.addEventListener('abort', cancel, { once: true });
    if (signal.aborted) cancel();
    try {
      for await (const answer of answers) yield answer;
    } catch (thrown) {
      if (!signal.aborted) throw this.#failure(thrown);
    } finally {
      signal.removeEventListener('abort', cancel);
      answers.on('error', ignoreAfterCancel);
      answers.cancel();
    }
  }

  /** Closes the connection; a process with an open one would not end. */
  close(): void {
    closeChannel(this.#client);
  }

  #failure(thrown: unknown): Error {
    const answered = fromServiceError(thrown);
    if (answered !== undefined) return answered;
    if (isServiceError(thrown)) return failureWithoutCode(this.address, thrown);
    return thrown instanceof Error ? thrown : new Error(String(thrown));
  }
}

/** Transport trouble mostly is UNAVAILABLE; a stream that is reset, or a server that ends, is not. */
function isTransportTrouble(error: ServiceError): boolean {
  if (error.code === status.UNAVAILABLE || error.code === status.CANCELLED) return true;
  return error.code === status.INTERNAL && /RST_STREAM|connection|stream/i.test(error.details);
}

/** A status that no code of ours came with: the transport's, or gRPC's own. */
function failureWithoutCode(address: string, error: ServiceError): Error {
  const details = { controller: address, grpcCode: error.code };
  if (isTransportTrouble(error)) return new ConnectionLost(`${address}: ${error.details}`, { cause: error });
  if (error.code === status.DEADLINE_EXCEEDED) {
    return new PlexiError(
      'TIMED_OUT',
      `the controller at ${address} did not answer in time; see \`plexictl status\``,
      { details, cause: error },
    );
  }
  if (error.code === status.PERMISSION_DENIED || error.code === status.UNAUTHENTICATED) {
    return new PlexiError('FORBIDDEN', `the controller at ${address} refused this: ${error.details}`, {
      details,
      cause: error,
    });
  }
  if (error.code === status.UNIMPLEMENTED) {
    return new PlexiError(
      'INTERNAL',
      `the controller at ${address} does not know this command; update it first`,
      { details, cause: error },
    );
  }
  return new PlexiError('INTERNAL', `the controller at ${address} failed: ${error.details}`, {
    details,
    cause: error,
  });
}

/** After our own cancel the stream still reports CANCELLED, which says nothing new. */
function ignoreAfterCancel(): void {}
