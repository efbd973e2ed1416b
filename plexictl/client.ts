/**
 * The cluster in the words of plexictl: one function for each thing that can be asked of it. What is
 * safe to send twice is written here, beside the word, and nowhere else.
 */

import { homedir } from 'node:os';
import { isDeepStrictEqual } from 'node:util';
import { PlexiError } from '../config/errors.js';
import { resolveClientConfig } from '../config/load.js';
import { type Identity, readOwnIdentity, type TlsFiles } from '../config/tls.js';
import { type AuditServiceListResponse, AuditServiceService as audit } from '../gen/plexi/v1/audit.js';
import {
  type ClusterServiceGetResponse,
  ClusterServiceService as cluster,
  type ReEpochResponse,
} from '../gen/plexi/v1/cluster.js';
import {
  type AddRequest,
  type LogsRequest,
  type Node,
  NodesServiceService as nodes,
  type TakeOverRequest,
} from '../gen/plexi/v1/nodes.js';
import {
  ClusterStatus,
  type Plan,
  type Rollout,
  type RolloutRequest,
  RolloutsServiceService as rollouts,
  type StartResponse,
} from '../gen/plexi/v1/rollouts.js';
import type { CliContext, ConnectionOptions } from './context.js';
import { isFinal } from './render/phases.js';
import { Replicas, read, takeOverWish, wish, wishOnce } from './replicas.js';

/** Runs `work` with a client for the cluster that the options name, and closes it whatever happens. */
export async function withCluster<Result>(
  context: CliContext,
  options: ConnectionOptions,
  work: (client: ClusterClient) => Promise<Result>,
): Promise<Result> {
  const client = openCluster(options, context.environment);
  try {
    return await work(client);
  } finally {
    client.close();
  }
}

/** Reads the client file and the operator's certificate; connects to nothing yet. Errors: CONFIG_INVALID, CERTIFICATE_REFUSED, USAGE. */
export function openCluster(
  options: ConnectionOptions,
  environment: CliContext['environment'],
): ClusterClient {
  const config = resolveClientConfig({
    configFlag: options.config,
    contextFlag: options.context,
    controllersFlag: options.controller,
    env: environment,
    homedir: environment.HOME || homedir(),
  });
  return new ClusterClient(config.controllers, config.tls, readOwnIdentity(config.tls));
}

/** All calls of plexictl to the controllers. Each throws a PlexiError that can be shown as it is. */
export class ClusterClient {
  /** Who the operator is, and of which cluster. */
  readonly identity: Identity;
  readonly #replicas: Replicas;

  /** `controllers` are tried in this order, each HOST:PORT. */
  constructor(controllers: readonly string[], files: TlsFiles, identity: Identity) {
    this.identity = identity;
    this.#replicas = new Replicas(controllers, files, identity.cluster);
  }

  /** The plan for a request; changes nothing. */
  async plan(request: RolloutRequest): Promise<Plan> {
    const { plan } = await this.#replicas.call(rollouts.plan, { request }, wish);
    if (plan === undefined)
      throw new PlexiError('INTERNAL', 'the controller answered without a plan; look at its log');
    return plan;
  }

  /** Starts the rollout whose plan the operator saw; the same request id sent twice starts one. */
  start(request: RolloutRequest, planDigest: string, requestId: string): Promise<StartResponse> {
    return this.#replicas.call(rollouts.start, { request, planDigest, requestId }, wish);
  }

  /** Leader and rollout: the named one, with '' the active one, else the last. */
  async status(id: string): Promise<ClusterStatus> {
    const { status } = await this.#replicas.call(rollouts.get, { id }, read);
    return status ?? ClusterStatus.fromPartial({});
  }

  /** Rollouts, newest first, without their nodes. */
  async history(limit: number): Promise<Rollout[]> {
    return (await this.#replicas.call(rollouts.list, { limit }, read)).rollouts;
  }

  /** Starts no further node; returns the rollout's id. */
  async pause(id: string, reason: string): Promise<string> {
    return (await this.#replicas.call(rollouts.pause, { id, reason }, wish)).id;
  }

  /** Goes on with a paused rollout; returns its id. */
  async resume(id: string, reason: string): Promise<string> {
    return (await this.#replicas.call(rollouts.resume, { id, reason }, wish)).id;
  }

  /** Ends the rollout midway, or takes it back; returns its id. */
  async abort(id: string, rollback: boolean, reason: string): Promise<string> {
    return (await this.#replicas.call(rollouts.abort, { id, rollback, reason }, wish)).id;
  }

  /** Tries a node again that failed and went back; returns the rollout's id. */
  async retry(nodeId: string, reason: string): Promise<string> {
    return (await this.#replicas.call(rollouts.retry, { id: '', nodeId, reason }, wishOnce)).id;
  }

  /** Leaves a node out of the active rollout; returns the rollout's id. */
  async skip(nodeId: string, reason: string): Promise<string> {
    return (await this.#replicas.call(rollouts.skip, { id: '', nodeId, reason }, wishOnce)).id;
  }

  /** Takes a finished rollout back ('' the last); returns the id of the rollback. */
  async rollback(id: string, reason: string, requestId: string): Promise<string> {
    return (await this.#replicas.call(rollouts.rollback, { id, reason, requestId }, wish)).id;
  }

  /** The newest audit records, and what a check of all of them came to, when one is asked for. */
  audit(limit: number, verify: boolean): Promise<AuditServiceListResponse> {
    return this.#replicas.call(audit.list, { limit, verify }, read);
  }

  /** All nodes. */
  async nodes(): Promise<Node[]> {
    return (await this.#replicas.call(nodes.list, {}, read)).nodes;
  }

  /** Names a node. */
  async addNode(request: AddRequest): Promise<void> {
    await this.#replicas.call(nodes.add, request, wishOnce);
  }

  /** Takes a node off the list. */
  async removeNode(nodeId: string, reason: string): Promise<void> {
    await this.#replicas.call(nodes.remove, { nodeId, reason }, wishOnce);
  }

  /** Takes a node out of service, or puts it back. */
  async setMaintenance(nodeId: string, on: boolean, reason: string): Promise<void> {
    await this.#replicas.call(nodes.setMaintenance, { nodeId, on, reason }, wish);
  }

  /** Keeps rollouts away from a node, or lets them come again. */
  async setHold(nodeId: string, on: boolean, reason: string): Promise<void> {
    await this.#replicas.call(nodes.setHold, { nodeId, on, reason }, wish);
  }

  /**
   * Takes over a service that runs already, or takes the operator's word for it; returns the digest. The
   * signal ends the wait for it, not the order. Errors: TIMED_OUT, after which the order goes on too.
   */
  async takeOver(request: TakeOverRequest, signal: AbortSignal): Promise<string> {
    return (await this.#replicas.call(nodes.takeOver, request, takeOverWish, signal)).digest;
  }

  /** Keeps new rollouts from starting, or lets them start again. */
  async setFreeze(on: boolean, reason: string): Promise<void> {
    await this.#replicas.call(cluster.setFreeze, { on, reason }, wish);
  }

  /** The cluster as a whole. */
  cluster(): Promise<ClusterServiceGetResponse> {
    return this.#replicas.call(cluster.get, {}, read);
  }

  /** Says that etcd was restored on purpose; raises the epoch. */
  reEpoch(reason: string): Promise<ReEpochResponse> {
    return this.#replicas.call(cluster.reEpoch, { reason }, wishOnce);
  }

  /** A node's log, piece by piece, until it ends or the signal is aborted. */
  async *logs(request: LogsRequest, signal: AbortSignal): AsyncGenerator<Buffer, void> {
    for await (const { data } of this.#replicas.stream(nodes.logs, request, signal)) yield data;
  }

  /** Which controllers can be connected to, in the order of the client file. */
  reachability(): Promise<{ address: string; reachable: boolean }[]> {
    return this.#replicas.reachability();
  }

  /**
   * How a rollout stands, at once and after every change, until it is final or the signal is aborted;
   * '' is the active one, else the last, and the same one is meant to the end. A replica that is lost
   * is replaced by the next; `onTrouble` hears of it. Throws NO_CONTROLLER after
   * `limits.followLostMs` without any, and whatever error a controller answers with.
   */
  async *watchRollout(
    id: string,
    signal: AbortSignal,
    onTrouble: (sentence: string) => void,
  ): AsyncGenerator<ClusterStatus, void> {
    let last: ClusterStatus | undefined;
    const request = () => ({ id: last?.rollout?.id ?? id });
    const isOver = () => last !== undefined && (last.rollout === undefined || isFinal(last.rollout));
    for await (const { status } of this.#replicas.follow(
      rollouts.watch,
      request,
      isOver,
      signal,
      onTrouble,
    )) {
      if (status === undefined || (last !== undefined && isSame(last, status))) continue;
      last = status;
      yield status;
    }
  }

  /** Closes all connections. */
  close(): void {
    this.#replicas.close();
  }
}

/** A replica that takes over says first what its predecessor said last. */
function isSame(one: ClusterStatus, other: ClusterStatus): boolean {
  return isDeepStrictEqual(one, other);
}
