/**
 * The agent's one gRPC server: NodeAgentService and grpc.health.v1 behind mutual TLS, with every
 * method denied that the table in config/authorization.ts does not allow.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import {
  Server,
  type ServerCredentials,
  type ServerDuplexStream,
  type ServerWritableStream,
} from '@grpc/grpc-js';
import { HealthImplementation } from 'grpc-health-check';
import type { Logger } from 'pino';
import { grpcAuthorization } from '../../config/authorization.js';
import { PlexiError } from '../../config/errors.js';
import { toServiceError } from '../../config/grpc-status.js';
import { limits } from '../../config/limits.js';
import { grpcServerOptions } from '../../config/tls.js';
import {
  type ExecuteRequest,
  ExecuteResponse,
  type NodeAgentServiceServer,
  NodeAgentServiceService,
  type WatchStatusRequest,
  type WatchStatusResponse,
} from '../../gen/plexi/v1/node_agent.js';
import type { AgentNode } from '../node.js';
import type { CommandService } from './command-service.js';
import type { Fence } from './fence.js';
import type { NodeStatusSource } from './node-status.js';
import { readLog } from './read-log.js';

/** Milliseconds between two statuses when nothing changes. */
const statusIntervalMs = 10_000;
/** Milliseconds after a status in which changes are gathered into the next one: a job makes many of them. */
const statusGatherMs = 25;

export interface AgentServerParts {
  readonly node: AgentNode;
  readonly commands: CommandService;
  readonly status: NodeStatusSource;
  readonly fence: Fence;
  /** A controller has called under a token that this node obeys. */
  heard(): void;
}

export function createAgentServer(parts: AgentServerParts): Server {
  const server = new Server({
    interceptors: [grpcAuthorization(parts.node.config.cluster)],
    ...grpcServerOptions({ streamsMax: limits.agentStreamsPerConnection }),
  });
  server.addService(NodeAgentServiceService, handlers(parts));
  new HealthImplementation({ '': 'SERVING', 'plexi.v1.NodeAgentService': 'SERVING' }).addToServer(server);
  return server;
}

function handlers({ node, commands, status, fence, heard }: AgentServerParts): NodeAgentServiceServer {
  const { log } = node;
  return {
    describe(_call, callback) {
      status.now().then(
        (now) => {
          const seen = fence.current;
          callback(null, { status: now, fence: seen?.token, lineage: seen?.lineage });
        },
        (thrown) => callback(toServiceError(thrown)),
      );
    },
    readLog(call) {
      readLog(call, node);
    },
    adopt(call, callback) {
      commands.adopt(call.request).then(
        (response) => {
          heard();
          callback(null, response);
        },
        (thrown) => {
          log.warn({ err: thrown }, 'adoption refused');
          callback(toServiceError(thrown));
        },
      );
    },
    execute(call) {
      execute(call, commands, log, heard);
    },
    watchStatus(call) {
      watchStatus(call, status, fence, heard);
    },
  };
}

function execute(
  call: ServerWritableStream<ExecuteRequest, ExecuteResponse>,
  commands: CommandService,
  log: Logger,
  heard: () => void,
): void {
  const { command } = call.request;
  if (command === undefined) {
    call.emit('error', toServiceError(new PlexiError('USAGE', 'Execute needs a command')));
    return;
  }
  commands
    .execute(command, (event) => {
      if (event?.$case === 'accepted') heard();
      if (!call.cancelled)
        call.write(ExecuteResponse.fromPartial({ event: { commandId: command.commandId, event } }));
    })
    .then(
      () => call.end(),
      (thrown) => {
        log.warn(
          { commandId: command.commandId, rollout: command.rolloutId, err: thrown },
          'command refused',
        );
        if (!call.cancelled) call.emit('error', toServiceError(thrown));
      },
    );
}

/** Sends the status at once, after changes, for pings, and every few seconds anyway; the last word is always sent. */
function watchStatus(
  call: ServerDuplexStream<WatchStatusRequest, WatchStatusResponse>,
  status: NodeStatusSource,
  fence: Fence,
  heard: () => void,
): void {
  let writing = false;
  let again = false;
  const send = async (): Promise<void> => {
    if (writing) {
      again = true;
      return;
    }
    writing = true;
    do {
      again = false;
      const now = await status.now();
      if (!call.cancelled && call.writable) call.write({ status: now });
      await sleep(statusGatherMs, undefined, { ref: false });
    } while (again && !call.cancelled);
    writing = false;
  };
  const sendNow = (): void => {
    send().catch((thrown) => call.emit('error', toServiceError(thrown)));
  };
  const unwatch = status.watch(sendNow);
  const timer = setInterval(sendNow, statusIntervalMs);
  const stop = (): void => {
    clearInterval(timer);
    unwatch();
  };
  call.on('data', (request: WatchStatusRequest) => {
    const isObeyed = request.token !== undefined && fence.isOfCurrentTerm(request.token);
    if (isObeyed) heard();
    if (isObeyed || request.token === undefined) sendNow();
  });
  call.on('end', () => {
    stop();
    call.end();
  });
  call.on('cancelled', stop);
  call.on('error', stop);
  sendNow();
}

/** Binds the server. @returns the port; @throws PlexiError CONFIG_INVALID when the address cannot be had */
export function listen(server: Server, address: string, credentials: ServerCredentials): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(address, credentials, (error, port) => {
      if (error === null) resolve(port);
      else
        reject(
          new PlexiError(
            'CONFIG_INVALID',
            `cannot listen on ${address}: ${error.message}; choose another address`,
            { cause: error },
          ),
        );
    });
  });
}
