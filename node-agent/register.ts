/**
 * The agent makes itself known: it calls Register on any controller, after each start and now and
 * then, with jitter, so that a thousand agents that start together do not call together.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Metadata } from '@grpc/grpc-js';
import pRetry from 'p-retry';
import type { Logger } from 'pino';
import { closeChannel } from '../config/close-channel.js';
import { fromServiceError } from '../config/grpc-status.js';
import { limits } from '../config/limits.js';
import type { NodeAgentConfig } from '../config/schema/node-agent.js';
import { grpcChannel } from '../config/tls.js';
import { NodesServiceClient, type RegisterRequest } from '../gen/plexi/v1/nodes.js';

export interface Registration {
  readonly config: NodeAgentConfig;
  readonly installId: string;
  /** Above the counter of every earlier start. */
  readonly counterBase: bigint;
  /** A number in [0, 1): spreads the calls. */
  readonly jitter: () => number;
  readonly log: Logger;
}

/** Registers until the signal is aborted. Never throws: a node serves on without its controllers. */
export async function keepRegistered(registration: Registration, signal: AbortSignal): Promise<void> {
  const { config, log, jitter } = registration;
  let counter = registration.counterBase;
  let delayMs = 0;
  while (!signal.aborted) {
    await sleep(delayMs, undefined, { signal, ref: false }).catch(() => undefined);
    if (signal.aborted) return;
    counter += 1n;
    const request = {
      nodeId: config.node,
      address: config.address,
      installId: registration.installId,
      counter,
    };
    try {
      await pRetry((attempt) => registerAt(config, attempt - 1, request), {
        retries: limits.registerTries,
        minTimeout: 200,
        maxTimeout: 5_000,
        randomize: true,
        signal,
      });
    } catch (thrown) {
      if (signal.aborted) return;
      log.warn({ err: thrown }, 'this node could not register with any controller; it goes on trying');
    }
    delayMs = config.registerIntervalMs * (0.5 + jitter());
  }
}

async function registerAt(config: NodeAgentConfig, attempt: number, request: RegisterRequest): Promise<void> {
  const target = config.controllers[attempt % config.controllers.length];
  if (target === undefined) return;
  const { credentials, options } = grpcChannel(config.tls, { cluster: config.cluster, role: 'controller' });
  const client = new NodesServiceClient(target, credentials, options);
  try {
    await new Promise<void>((resolve, reject) => {
      client.register(request, new Metadata(), { deadline: Date.now() + limits.grpcCallMs }, (error) =>
        error === null ? resolve() : reject(fromServiceError(error) ?? error),
      );
    });
  } finally {
    closeChannel(client);
  }
}
