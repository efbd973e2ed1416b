/**
 * The controller replicas of one cluster: any of them answers any call (contract, section 2), so a
 * call goes to the first that can be connected to. Invariant: a wish that is not safe to send twice is
 * sent to another replica only when the first was never connected to; and a stream that breaks is
 * taken up again at the next replica, for a bounded time.
 */
import { setTimeout as pause } from 'node:timers/promises';
import type { MethodDefinition } from '@grpc/grpc-js';
import { PlexiError } from '../config/errors.js';
import { limits } from '../config/limits.js';
import { explainTlsFailure, grpcChannel, type TlsFiles } from '../config/tls.js';
import { ConnectionLost, ControllerLink, NotConnected } from './controller-link.js';

/** How one call may be treated. */
export interface CallKind {
  readonly timeoutMs: number;
  /** Sent again elsewhere when the connection broke before the answer. */
  readonly repeatable: boolean;
  /** Changes nothing, so another replica may also be asked when this one's store is down. */
  readonly reads: boolean;
}

/** A question that etcd answers at once. */
export const read: CallKind = { timeoutMs: limits.grpcCallMs, repeatable: true, reads: true };
/** A wish for the leader, answered once it is in force; the same wish twice is one wish. */
export const wish: CallKind = { timeoutMs: limits.intentWaitMs + 5_000, repeatable: true, reads: false };
/** A wish for the leader that would be refused the second time. */
export const wishOnce: CallKind = { ...wish, repeatable: false };
/** Answered once a service was taken over, for which its files may have to be copied. */
export const takeOverWish: CallKind = { ...wishOnce, timeoutMs: limits.takeOverMs + wish.timeoutMs };

/** The controllers of one cluster. */
export class Replicas {
  readonly #controllers: readonly string[];
  readonly #files: TlsFiles;
  readonly #cluster: string;
  readonly #patienceMs: number;
  readonly #links: readonly ControllerLink[];
  /** The replica that answered last is asked first. */
  #preferred = 0;
  /** Whether any replica answered in the life of this command. */
  #haveAnswered = false;

  /** `patienceMs`: how long a stream that was lost is tried for again. */
  constructor(
    controllers: readonly string[],
    files: TlsFiles,
    cluster: string,
    patienceMs: number = limits.followLostMs,
  ) {
    this.#patienceMs = patienceMs;
    this.#controllers = controllers;
    this.#files = files;
    this.#cluster = cluster;
    const { credentials, options } = grpcChannel(files, { cluster, role: 'controller' });
    this.#links = controllers.map((address) => new ControllerLink(address, credentials, options));
  }

  /**
   * One call to the first replica that answers. Throws PlexiError: the controller's own, or NO_CONTROLLER and
   * its like; and once the signal is aborted, whatever the call ended with.
   */
  async call<Request, Response>(
    method: MethodDefinition<Request, Response>,
    request: Request,
    kind: CallKind,
    signal?: AbortSignal,
  ): Promise<Response> {
    let answered: PlexiError | undefined;
    for (const _ of this.#links) {
      const link = this.#current();
      try {
        const response = await link.unary(method, request, kind.timeoutMs, signal);
        this.#haveAnswered = true;
        return response;
      } catch (thrown) {
        if (signal?.aborted) throw thrown;
        if (thrown instanceof PlexiError) answered = thrown;
        if (thrown instanceof ConnectionLost && !kind.repeatable)
          throw await this.#perhapsDone(thrown, link.address);
        if (!mayAskAnother(thrown, kind)) throw thrown;
        this.#next();
      }
    }
    throw answered ?? (await this.#allDown());
  }

  /**
   * A stream's answers, taken up again at the next replica when one is lost, until a replica ends it
   * and `isOver()` agrees, or the signal is aborted. `request` is asked for each try. A command that
   * nobody answered yet gives up after one try at each replica; one that follows already tries on for
   * `limits.followLostMs`.
   */
  async *follow<Request, Response>(
    method: MethodDefinition<Request, Response>,
    request: () => Request,
    isOver: () => boolean,
    signal: AbortSignal,
    onTrouble: (sentence: string) => void,
  ): AsyncGenerator<Response, void> {
    let failures = 0;
    let lostSinceMs = 0;
    while (!signal.aborted) {
      const link = this.#current();
      try {
        for await (const response of link.stream(method, request(), signal)) {
          this.#haveAnswered = true;
          failures = 0;
          yield response;
        }
        if (signal.aborted || isOver()) return;
        throw new ConnectionLost(`${link.address} ended the stream too early`);
      } catch (thrown) {
        if (!mayFollowElsewhere(thrown)) throw thrown;
        if (failures === 0) lostSinceMs = performance.now();
        failures += 1;
        await this.#giveUpWhenAllAreDown(failures, lostSinceMs);
        const next = this.#next();
        if (failures === 1 && this.#haveAnswered) {
          const then = next === link.address ? 'trying again' : `going on with ${next}`;
          onTrouble(`lost the controller at ${link.address}; ${then} (the rollout itself goes on)`);
        }
        await pauseBeforeTry(failures, this.#links.length, signal);
      }
    }
  }

  /**
   * A stream's answers from the first replica that sends any. One that breaks later is not taken up
   * again, because what was sent already would come twice. Throws as `call` does.
   */
  async *stream<Request, Response>(
    method: MethodDefinition<Request, Response>,
    request: Request,
    signal: AbortSignal,
  ): AsyncGenerator<Response, void> {
    for (const _ of this.#links) {
      const link = this.#current();
      let haveBegun = false;
      try {
        for await (const response of link.stream(method, request, signal)) {
          haveBegun = true;
          yield response;
        }
        return;
      } catch (thrown) {
        if (haveBegun && thrown instanceof ConnectionLost) throw brokenOff(thrown, link.address);
        if (haveBegun || !mayAskAnother(thrown, read)) throw thrown;
        this.#next();
      }
    }
    throw await this.#allDown();
  }

  /** Which replicas can be connected to. */
  reachability(): Promise<{ address: string; reachable: boolean }[]> {
    return Promise.all(
      this.#links.map(async (link) => {
        const reachable = await link.connect().then(
          () => true,
          () => false,
        );
        return { address: link.address, reachable };
      }),
    );
  }

  /** Closes all connections. */
  close(): void {
    for (const link of this.#links) link.close();
  }

  #current(): ControllerLink {
    const link = this.#links[this.#preferred];
    if (link !== undefined) return link;
    throw new PlexiError(
      'CONFIG_INVALID',
      'no controllers are named; write them under `controllers:` in the client file',
    );
  }

  /** Moves on to the next replica and returns its address. */
  #next(): string {
    this.#preferred = (this.#preferred + 1) % this.#links.length;
    return this.#current().address;
  }

  async #giveUpWhenAllAreDown(failures: number, lostSinceMs: number): Promise<void> {
    const lostForMs = performance.now() - lostSinceMs;
    const patient = this.#haveAnswered && lostForMs < this.#patienceMs;
    if (failures >= this.#links.length && !patient) throw await this.#allDown();
  }

  /** A lost connection is not a lost wish: unless our certificate was refused, the operator has to look. */
  async #perhapsDone(thrown: ConnectionLost, address: string): Promise<PlexiError> {
    const cause = await this.#explain(address);
    if (cause.code !== 'NO_CONTROLLER') return cause;
    return new PlexiError(
      'NO_CONTROLLER',
      `the connection to ${address} broke before it answered, so this may have been done; look with \`plexictl nodes\` before you try again`,
      { cause: thrown, details: { controller: address } },
    );
  }

  #explain(address: string): Promise<PlexiError> {
    return explainTlsFailure(address, this.#files, { cluster: this.#cluster, role: 'controller' });
  }

  /** Nobody can be connected to: a refused certificate is told from a host that is down. */
  async #allDown(): Promise<PlexiError> {
    const causes = await Promise.all(this.#controllers.map((address) => this.#explain(address)));
    const refused = causes.find((cause) => cause.code !== 'NO_CONTROLLER');
    const [first] = causes;
    if (refused !== undefined) return refused;
    if (first !== undefined && causes.length === 1) return first;
    return new PlexiError(
      'NO_CONTROLLER',
      `none of the controllers of cluster ${this.#cluster} can be reached (${this.#controllers.join(', ')}); check that they run and that this host can connect to them`,
      { cause: first, details: { controllers: this.#controllers } },
    );
  }
}

function brokenOff(cause: ConnectionLost, controller: string): PlexiError {
  const message = `the connection to ${controller} broke in the middle; ask again`;
  return new PlexiError('NO_CONTROLLER', message, { cause, details: { controller } });
}

/** Whether another replica may be asked after this failure; what may not be repeated is settled before. */
function mayAskAnother(thrown: unknown, kind: CallKind): boolean {
  if (thrown instanceof NotConnected) return true;
  if (thrown instanceof ConnectionLost) return true;
  return (
    kind.reads && thrown instanceof PlexiError && ['STORE_UNAVAILABLE', 'TIMED_OUT'].includes(thrown.code)
  );
}

/** A replica without its store, or with too many watchers, may have a sound one beside it. */
function mayFollowElsewhere(thrown: unknown): boolean {
  if (thrown instanceof ConnectionLost || thrown instanceof NotConnected) return true;
  return thrown instanceof PlexiError && ['STORE_UNAVAILABLE', 'LIMIT_EXCEEDED'].includes(thrown.code);
}

/** Each replica is tried once at once; after that the pauses grow. */
async function pauseBeforeTry(failures: number, replicas: number, signal: AbortSignal): Promise<void> {
  const rounds = Math.floor(failures / replicas);
  const pauseMs = rounds === 0 ? 0 : Math.min(limits.followPauseMaxMs, 125 * 2 ** Math.min(rounds, 10));
  await pause(pauseMs, undefined, { signal }).catch((thrown: unknown) => {
    if (!signal.aborted) throw thrown;
  });
}
