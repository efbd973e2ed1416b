/**
 * A node's log, passed on as it comes: the replica asks the agent for it, and reads no faster than its
 * own caller takes it.
 */
import type { ClientReadableStream, ServerWritableStream } from '@grpc/grpc-js';
import { closeChannel } from '../../config/close-channel.js';
import { PlexiError } from '../../config/errors.js';
import { fromServiceError, toServiceError } from '../../config/grpc-status.js';
import type { ControllerConfig } from '../../config/schema/controller.js';
import { grpcChannel } from '../../config/tls.js';
import { NodeAgentServiceClient, type ReadLogResponse } from '../../gen/plexi/v1/node_agent.js';
import type { LogsRequest, LogsResponse } from '../../gen/plexi/v1/nodes.js';
import { type EtcdClient, readKey } from '../leadership/etcd.js';
import type { ClusterKeys } from '../state/keys.js';
import { decode, nodeSpecRecord } from '../state/records.js';

export interface NodeLogParts {
  readonly config: Pick<ControllerConfig, 'cluster' | 'tls'>;
  readonly client: EtcdClient;
  readonly keys: ClusterKeys;
}

type LogCall = ServerWritableStream<LogsRequest, LogsResponse>;

/** Serves NodesService.Logs. Errors: NOT_FOUND, NODE_UNREACHABLE, and what the agent says. */
export function streamNodeLog(call: LogCall, parts: NodeLogParts): void {
  stream(call, parts).catch((thrown) => call.emit('error', toServiceError(thrown)));
}

async function stream(call: LogCall, parts: NodeLogParts): Promise<void> {
  const { nodeId, source, name, tailLines, follow } = call.request;
  const agent = await clientOf(nodeId, parts);
  if (call.cancelled) return closeChannel(agent);
  const log = agent.readLog({ source, name, tailLines, follow });
  call.once('cancelled', () => log.cancel());
  try {
    await pass(log, call, nodeId);
  } finally {
    closeChannel(agent);
  }
}

function pass(log: ClientReadableStream<ReadLogResponse>, call: LogCall, node: string): Promise<void> {
  return new Promise((resolve, reject) => {
    log.on('data', ({ data }: ReadLogResponse) => {
      if (call.cancelled || call.write({ data })) return;
      log.pause();
      call.once('drain', () => log.resume());
    });
    log.once('error', (thrown: Error) => {
      if (call.cancelled) return resolve();
      const message = `${node} cannot be asked for its log (${thrown.message}); see whether its agent runs`;
      reject(fromServiceError(thrown) ?? new PlexiError('NODE_UNREACHABLE', message, { cause: thrown }));
    });
    log.once('end', () => {
      if (!call.cancelled) call.end();
      resolve();
    });
  });
}

async function clientOf(
  node: string,
  { client, keys, config }: NodeLogParts,
): Promise<NodeAgentServiceClient> {
  const key = keys.nodeSpec(node);
  const { entry } = await readKey(client, key);
  const spec = entry && decode(nodeSpecRecord, key, entry.value);
  if (spec === undefined || spec.removed)
    throw new PlexiError('NOT_FOUND', `there is no node ${node}; plexictl nodes lists them`);
  if (spec.address === '')
    throw new PlexiError('NODE_UNREACHABLE', `${node} has no address yet; its agent tells it when it starts`);
  const { credentials, options } = grpcChannel(config.tls, {
    cluster: config.cluster,
    role: 'agent',
    name: node,
  });
  return new NodeAgentServiceClient(spec.address, credentials, options);
}
